from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.candidates import Candidates
from rag_server.domain.fusion import RrfFusion
from rag_server.domain.retrieval import ScoreScale
from rag_server.query.fuse.registry import order
from rag_server.query.fuse.rrf import fuse_rrf
from tests.unit.rag_server.query.fuse.fusion_candidates import candidates, drawn_candidates, leg


def test_rrf_score_is_the_sum_of_weighted_reciprocal_ranks() -> None:
    found = candidates(leg([0.9, 0.8, 0.1], [1, 1, 0]), leg([0.0, 7.0, 5.0], [0, 1, 1]))
    fused = fuse_rrf(found, RrfFusion(k=60, dense_weight=2.0, lexical_weight=1.0))
    assert fused.scores == pytest.approx([2 / 61, 2 / 62 + 1 / 61, 1 / 62])
    assert list(order(found, fused.scores)) == [1, 0, 2]
    assert fused.scale is ScoreScale.RRF
    assert fused.dense_weight == pytest.approx(2 / 3)
    assert fused.lexical_weight == pytest.approx(1 / 3)


def test_rrf_of_two_legs_takes_no_notice_of_scores() -> None:
    near = candidates([0.3, 0.2, 0.1], [1.0, 2.0, 3.0])
    far = candidates([9.9, 0.2, -5.0], [1.0, 2.0, 300.0])
    assert np.array_equal(fuse_rrf(near, RrfFusion()).scores, fuse_rrf(far, RrfFusion()).scores)


def test_rrf_without_a_leg_gives_the_other_all_the_weight() -> None:
    fused = fuse_rrf(candidates([0.3, 0.2], None), RrfFusion())
    assert (fused.dense_weight, fused.lexical_weight) == (1.0, 0.0)
    assert fused.scores == pytest.approx([1 / 61, 1 / 62])


@given(drawn_candidates(least=1), st.integers(1, 10_000))
def test_rrf_better_rank_in_a_leg_never_lowers_the_score(found: Candidates, k: int) -> None:
    assert found.dense is not None
    last = int(np.argmax(found.dense.ranks))
    better = found.dense.scores.copy()
    better[last] = 2.0
    moved = Candidates(found.positions, leg(better, found.dense.ranks), found.lexical)
    before, after = fuse_rrf(found, RrfFusion(k=k)).scores, fuse_rrf(moved, RrfFusion(k=k)).scores
    assert after[last] >= before[last]
