from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.candidates import LegColumns, Scores
from rag_server.query.fuse.scaling import complete, normalized, standardized, stretched, weighted_sum
from tests.unit.rag_server.query.fuse.fusion_candidates import leg

nan = np.nan
numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20).map(np.array)


def test_complete_puts_the_lowest_score_for_an_unknown_one() -> None:
    assert list(complete(leg([0.5, nan, 0.2]))) == [0.5, 0.2, 0.2]


def test_complete_of_a_leg_that_knows_nothing_is_0() -> None:
    assert list(complete(LegColumns(np.array([nan, nan]), np.zeros(2, np.int32)))) == [0.0, 0.0]


@pytest.mark.parametrize("scores", [[], [0.7], [0.1, 0.1, 0.1], [0.1, 0.1 + 1e-12]])
def test_scores_without_a_difference_are_all_0(scores: list[float]) -> None:
    assert list(stretched(np.array(scores))) == list(standardized(np.array(scores))) == [0.0] * len(scores)


@given(numbers)
def test_stretched_and_standardized_keep_the_order_and_are_finite(
    scores: Scores,
) -> None:
    for scaled in (stretched(scores), standardized(scores)):
        assert np.isfinite(scaled).all()
        assert np.all(np.diff(scaled[np.argsort(scores)]) >= 0)


@given(st.floats(0, 1e300), st.floats(0, 1e300))
def test_normalized_weights_sum_to_1_unless_both_are_0(dense: float, lexical: float) -> None:
    weights = normalized(dense, lexical)
    assert sum(weights) == (pytest.approx(1.0) if dense or lexical else 0.0)
    assert (weights[0] >= weights[1]) == (dense >= lexical) or weights[0] == pytest.approx(weights[1])


def test_weighted_sum_of_no_leg_is_empty() -> None:
    assert len(weighted_sum(None, None, (0.0, 0.0))) == 0
