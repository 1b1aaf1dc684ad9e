"""What holds for every method of fusion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.candidates import Candidates, LegColumns
from rag_server.domain.fusion import AdaptiveFusion, Fusion, MinMaxFusion, RrfFusion, ZScoreFusion
from rag_server.domain.retrieval import ScoreScale
from rag_server.query.fuse.context import FusionContext
from rag_server.query.fuse.registry import fuse, order
from tests.unit.rag_server.query.fuse.fusion_candidates import (
    METHODS,
    NO_CONTEXT,
    candidates,
    contexts,
    drawn_candidates,
    fusions,
    leg,
)

SCALES: dict[type[Fusion], ScoreScale] = {
    AdaptiveFusion: ScoreScale.ADAPTIVE,
    RrfFusion: ScoreScale.RRF,
    MinMaxFusion: ScoreScale.MIN_MAX,
    ZScoreFusion: ScoreScale.Z_SCORE,
}
BY_SCORE = [method for method in METHODS if method is not RrfFusion]
Indices = npt.NDArray[np.int64]
every_method = pytest.mark.parametrize("method", METHODS)


@every_method
def test_fuse_names_the_scale_of_its_method(method: type[Fusion]) -> None:
    assert fuse(candidates([0.5], [1.0]), method(), NO_CONTEXT).scale is SCALES[method]


@every_method
def test_fuse_of_nothing_is_empty(method: type[Fusion]) -> None:
    for nothing in (candidates([], []), candidates(None, None), candidates([], None)):
        fused = fuse(nothing, method(), NO_CONTEXT)
        assert len(fused.scores) == len(order(nothing, fused.scores)) == 0
        assert fused.dense_weight + fused.lexical_weight in {0.0, 1.0}


@given(drawn_candidates(unknown=True), fusions(), contexts)
def test_fuse_scores_are_finite_and_weights_sum_to_1(
    found: Candidates, fusion: Fusion, context: FusionContext
) -> None:
    fused = fuse(found, fusion, context)
    assert fused.scores.dtype == np.float64
    assert len(fused.scores) == len(found)
    assert np.isfinite(fused.scores).all()
    assert min(fused.dense_weight, fused.lexical_weight) >= 0.0
    assert fused.dense_weight + fused.lexical_weight == pytest.approx(1.0)


@given(drawn_candidates(unknown=True), fusions(), contexts, st.integers(0, 1000))
def test_fuse_does_not_depend_on_the_order_of_the_candidates(
    found: Candidates, fusion: Fusion, context: FusionContext, seed: int
) -> None:
    shuffled = np.random.default_rng(seed).permutation(len(found))
    mixed = Candidates(
        found.positions[shuffled], _taken(found.dense, shuffled), _taken(found.lexical, shuffled)
    )
    straight, other = fuse(found, fusion, context).scores, fuse(mixed, fusion, context).scores
    assert other == pytest.approx(straight[shuffled], abs=1e-9)
    assert np.array_equal(found.positions[order(found, straight)], mixed.positions[order(mixed, other)])


def _taken(columns: LegColumns | None, indices: Indices) -> LegColumns | None:
    return None if columns is None else LegColumns(columns.scores[indices], columns.ranks[indices])


@given(drawn_candidates(), st.sampled_from(METHODS), st.booleans(), contexts)
def test_fuse_of_one_leg_is_the_ranking_of_that_leg(
    found: Candidates, method: type[Fusion], is_dense: bool, context: FusionContext
) -> None:
    columns = found.dense if is_dense else found.lexical
    assert columns is not None
    alone = leg(columns.scores)
    only = candidates(alone, None) if is_dense else candidates(None, alone)
    expected = np.argsort(alone.ranks)
    assert np.array_equal(order(only, fuse(only, method(), context).scores), expected)
    # the other leg is there, but was given no weight
    both = candidates(alone, found.lexical) if is_dense else candidates(found.dense, alone)
    fusion = method(dense_weight=float(is_dense), lexical_weight=float(not is_dense))
    fused = fuse(both, fusion, context)
    assert (fused.dense_weight, fused.lexical_weight) == (float(is_dense), float(not is_dense))
    assert np.all(np.diff(columns.scores[order(both, fused.scores)]) <= 0)


@given(drawn_candidates(least=2), st.sampled_from(BY_SCORE), contexts)
def test_fuse_with_a_leg_that_finds_all_alike_is_the_ranking_of_the_other(
    found: Candidates, method: type[Fusion], context: FusionContext
) -> None:
    assert found.lexical is not None
    alike = candidates([0.1] * len(found), found.lexical)
    ranking = order(alike, fuse(alike, method(), context).scores)
    assert np.all(np.diff(found.lexical.scores[ranking]) <= 0)


@given(drawn_candidates(least=2), st.sampled_from(METHODS), contexts)
def test_fuse_puts_first_what_both_legs_put_first(
    found: Candidates, method: type[Fusion], context: FusionContext
) -> None:
    assert found.dense is not None
    assert found.lexical is not None
    dense, lexical = found.dense.scores.copy(), found.lexical.scores.copy()
    dense[1], lexical[1] = 2.0, 50.0
    agreed = candidates(dense, lexical)
    assert order(agreed, fuse(agreed, method(), context).scores)[0] == 1


def test_order_of_equal_scores_is_by_best_rank_then_ties_then_position() -> None:
    dense, lexical = leg([0.9, 0.8, 0.0, 0.0], [1, 1, 0, 0]), leg([0.0, 0.0, 5.0, 4.0], [0, 0, 1, 1])
    found = Candidates(np.array([7, 3, 5, 1]), dense, lexical)
    assert list(order(found, np.zeros(4))) == [2, 0, 3, 1]
    assert list(order(found, np.zeros(4), np.array(["a", "b", "c", "d"]))) == [0, 2, 1, 3]


def test_order_takes_no_notice_of_the_order_of_a_sum() -> None:
    found = candidates(leg([1.0, 2.0]), None)
    assert list(order(found, np.array([0.1 + 0.2, 0.3]))) == [1, 0]
    assert list(order(found, np.array([0.3001, 0.3]))) == [0, 1]
