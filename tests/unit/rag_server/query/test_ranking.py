"""A ranking that loses candidates: each of them is accounted for, once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.retrieval import Drop, ScoreScale
from rag_server.query.ranking import Ranking


def make_ranking(count: int) -> Ranking:
    fused = np.linspace(1, 0, count)
    order = np.arange(count)
    return Ranking(order, fused[order], ScoreScale.RRF, fused, ScoreScale.RRF)


def test_keep_takes_places_in_the_order_given() -> None:
    ranking = make_ranking(5)
    ranking.keep(np.array([4, 0, 2]), Drop.BELOW_TOP_K)
    ranking.keep(np.array([2, 0]), Drop.BELOW_THRESHOLD)
    assert ranking.indices.tolist() == [2, 4]
    assert ranking.scores.tolist() == [0.5, 0.0]
    assert ranking.drops == {1: Drop.BELOW_TOP_K, 3: Drop.BELOW_TOP_K, 0: Drop.BELOW_THRESHOLD}


def test_fused_on_another_scale_is_none() -> None:
    ranking = make_ranking(3)
    ranking.scale = ScoreScale.CROSS_ENCODER
    ranking.keep(np.array([2, 1]), Drop.BELOW_RERANK)
    assert ranking.fused_on(ScoreScale.Z_SCORE) is None
    scores = ranking.fused_on(ScoreScale.RRF)
    assert scores is not None
    assert scores.tolist() == [0.0, 0.5]


@given(st.integers(0, 8), st.lists(st.tuples(st.sampled_from(list(Drop)), st.randoms()), max_size=4))
def test_keep_every_candidate_is_left_or_dropped_once(count: int, cuts: list[tuple[Drop, object]]) -> None:
    ranking = make_ranking(count)
    expected: dict[int, Drop] = {}
    for why, random in cuts:
        places = np.array(
            random.sample(range(len(ranking.indices)), random.randint(0, len(ranking.indices))),  # type: ignore[attr-defined]  # a `Random`
            np.int64,
        )
        before, kept = ranking.indices.tolist(), ranking.indices[places].tolist()
        ranking.keep(places, why)
        assert ranking.indices.tolist() == kept
        expected |= {index: why for index in before if index not in kept}
    assert ranking.drops == expected
    assert sorted([*ranking.drops, *ranking.indices.tolist()]) == list(range(count))
    assert ranking.scores.tolist() == ranking.fused[ranking.indices].tolist()
