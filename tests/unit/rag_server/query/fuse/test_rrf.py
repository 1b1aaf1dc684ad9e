from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.retrieval import Candidate, Leg, LegSignal, RrfFusion, ScoreScale
from rag_server.query.fuse.rrf import fuse_rrf
from tests.unit.rag_server.query.conftest import candidates, make_chunk

NAMES = [f"c{number:02}" for number in range(12)]
rankings = st.lists(st.sampled_from(NAMES), unique=True)
fusions = st.builds(
    RrfFusion,
    k=st.integers(1, 1000),
    dense_weight=st.floats(0, 10),
    lexical_weight=st.floats(0, 10),
)


def legs(dense: list[str], lexical: list[str]) -> dict[Leg, list[Candidate]]:
    return {Leg.DENSE: candidates(*dense), Leg.LEXICAL: candidates(*lexical)}


def test_rrf_score_is_the_sum_of_weighted_reciprocal_ranks() -> None:
    fusion = RrfFusion(k=60, dense_weight=2.0, lexical_weight=1.0)
    results = fuse_rrf(legs(["a", "b"], ["b", "c"]), fusion, top_k=10).results
    scores = {result.chunk.id: result.score for result in results}
    assert scores == {
        "a": pytest.approx(2 / 61),
        "b": pytest.approx(2 / 62 + 1 / 61),
        "c": pytest.approx(1 / 62),
    }
    assert [result.chunk.id for result in results] == ["b", "a", "c"]


def test_rrf_ranking_says_on_which_scale_it_is() -> None:
    assert fuse_rrf(legs(["a"], []), RrfFusion(), top_k=1).score_scale is ScoreScale.RRF


def test_rrf_signals_hold_rank_and_score_of_each_leg() -> None:
    (first, *_) = fuse_rrf(legs(["a"], ["b", "a"]), RrfFusion(), top_k=10).results
    assert first.chunk.id == "a"
    assert first.signals == {Leg.DENSE: LegSignal(1, 1.0), Leg.LEXICAL: LegSignal(2, 0.999)}


def test_rrf_equal_scores_are_ordered_by_best_rank_then_id() -> None:
    fusion = RrfFusion(dense_weight=0.0, lexical_weight=0.0)
    results = fuse_rrf(legs(["z", "y"], ["x", "w"]), fusion, top_k=10).results
    assert [result.chunk.id for result in results] == ["x", "z", "w", "y"]


def test_rrf_without_candidates_is_empty() -> None:
    assert fuse_rrf({}, RrfFusion(), top_k=10).results == ()
    assert fuse_rrf(legs([], []), RrfFusion(), top_k=10).results == ()


@given(rankings, rankings, fusions, st.integers(1, 30))
def test_rrf_results_are_the_union_cut_to_top_k_and_ordered(
    dense: list[str], lexical: list[str], fusion: RrfFusion, top_k: int
) -> None:
    results = fuse_rrf(legs(dense, lexical), fusion, top_k=top_k).results
    everything = set(dense) | set(lexical)
    names = [result.chunk.id for result in results]
    assert len(names) == len(set(names)) == min(top_k, len(everything))
    assert set(names) <= everything
    assert [result.score for result in results] == sorted((r.score for r in results), reverse=True)


@given(rankings, rankings, fusions)
def test_rrf_top_k_is_a_prefix_and_the_order_of_legs_does_not_matter(
    dense: list[str], lexical: list[str], fusion: RrfFusion
) -> None:
    both = legs(dense, lexical)
    everything = fuse_rrf(both, fusion, top_k=100).results
    assert fuse_rrf(both, fusion, top_k=3).results == everything[:3]
    turned = fuse_rrf(dict(reversed(both.items())), fusion, top_k=100).results
    assert [each.chunk.id for each in turned] == [each.chunk.id for each in everything]


@given(rankings, fusions.filter(lambda fusion: fusion.dense_weight > 0.001))
def test_rrf_of_one_leg_keeps_its_order(ranking: list[str], fusion: RrfFusion) -> None:
    results = fuse_rrf({Leg.DENSE: candidates(*ranking)}, fusion, top_k=100).results
    assert [result.chunk.id for result in results] == ranking


@given(rankings.filter(bool), rankings, st.integers(1, 1000))
def test_rrf_better_rank_in_a_leg_never_lowers_the_score(
    dense: list[str], lexical: list[str], k: int
) -> None:
    fusion = RrfFusion(k=k)
    last = dense[-1]
    before = {each.chunk.id: each.score for each in fuse_rrf(legs(dense, lexical), fusion, top_k=100).results}
    moved = [last, *dense[:-1]]
    after = {each.chunk.id: each.score for each in fuse_rrf(legs(moved, lexical), fusion, top_k=100).results}
    assert after[last] >= before[last]


def test_rrf_keeps_the_chunk() -> None:
    chunk = make_chunk("a", "some-document")
    (result,) = fuse_rrf({Leg.LEXICAL: [Candidate(chunk, 7.5)]}, RrfFusion(), top_k=1).results
    assert result.chunk is chunk
