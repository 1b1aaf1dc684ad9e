from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.candidates import Candidates
from rag_server.domain.fusion import MinMaxFusion
from rag_server.domain.retrieval import ScoreScale
from rag_server.query.fuse.min_max import fuse_min_max
from tests.unit.rag_server.query.fuse.fusion_candidates import candidates, drawn_candidates


def test_min_max_is_the_weighted_mean_of_stretched_scores() -> None:
    fused = fuse_min_max(candidates([0.2, 0.4, 0.6], [12.0, 0.0, 3.0]), MinMaxFusion(3.0, 1.0))
    assert fused.scores == pytest.approx([0.25, 0.375, 0.75 + 0.0625])
    assert (fused.scale, fused.dense_weight, fused.lexical_weight) == (ScoreScale.MIN_MAX, 0.75, 0.25)


def test_min_max_unknown_score_is_the_lowest_of_its_leg() -> None:
    known = fuse_min_max(candidates([0.2, 0.4, 0.2], [1.0, 2.0, 3.0]), MinMaxFusion())
    unknown = fuse_min_max(candidates([0.2, 0.4, np.nan], [1.0, 2.0, 3.0]), MinMaxFusion())
    assert np.array_equal(known.scores, unknown.scores)


@given(drawn_candidates())
def test_min_max_scores_lie_between_0_and_1(found: Candidates) -> None:
    scores = fuse_min_max(found, MinMaxFusion()).scores
    assert np.all((scores >= 0.0) & (scores <= 1.0 + 1e-12))


@given(drawn_candidates(), st.sampled_from([0.01, 3.0, 1000.0]), st.sampled_from([-2.0, 0.0, 5.0]))
def test_min_max_is_the_same_on_any_scale_of_a_leg(found: Candidates, factor: float, shift: float) -> None:
    assert found.dense is not None
    assert found.lexical is not None
    other = candidates(found.dense.scores * factor + shift, found.lexical.scores)
    assert fuse_min_max(other, MinMaxFusion()).scores == pytest.approx(
        fuse_min_max(found, MinMaxFusion()).scores, abs=1e-9
    )
