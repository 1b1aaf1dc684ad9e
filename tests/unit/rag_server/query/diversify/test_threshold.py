from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_server.query.diversify.threshold import at_least


def test_threshold_keeps_the_score_itself_and_the_order() -> None:
    scores = np.array([0.5, 0.9, 0.4999, 0.7])
    assert at_least(scores, 0.5).tolist() == [0, 1, 3]


def test_threshold_of_a_score_that_is_unknown_does_not_pass() -> None:
    assert at_least(np.array([math.nan, 1.0, math.nan]), -1e300).tolist() == [1]


def test_threshold_that_is_not_a_number_raises() -> None:
    with pytest.raises(ValueError, match="not a number"):
        at_least(np.array([1.0]), math.nan)


@settings(deadline=None)
@given(st.lists(st.floats()), st.floats(allow_nan=False))
def test_threshold_keeps_exactly_what_is_not_below(scores: list[float], least: float) -> None:
    kept = at_least(np.array(scores, np.float64), least).tolist()
    assert kept == [place for place, score in enumerate(scores) if score >= least]
