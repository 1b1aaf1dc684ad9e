"""Candidates of several collections under one numbering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.candidates import Candidates, LegColumns
from rag_server.domain.document import Chunk
from rag_server.domain.retrieval import Leg
from rag_server.query.pooled import Pooled
from tests.unit.rag_server.query.conftest import make_chunk

NAN = float("nan")
Rows = list[tuple[float, float]]
"""Cosine and BM25 of each candidate; NaN: the engine cannot tell."""


@dataclass
class Found:
    """What one collection found: all of `rows`, ranked by score per leg; a leg that is None did not run."""

    name: str
    rows: Rows
    legs: tuple[Leg, ...] = tuple(Leg)

    @property
    def candidates(self) -> Candidates:
        # positions mean something to their collection only
        positions = np.arange(len(self.rows)) * 10 + 7
        dense, lexical = (self._columns(leg, place) for place, leg in enumerate((Leg.DENSE, Leg.LEXICAL)))
        return Candidates(positions, dense, lexical)

    def _columns(self, leg: Leg, place: int) -> LegColumns | None:
        if leg not in self.legs:
            return None
        scores = np.array([row[place] for row in self.rows])
        ranks = np.zeros(len(scores), np.int32)
        known = np.flatnonzero(~np.isnan(scores))
        ranks[known[np.argsort(-scores[known], kind="stable")]] = np.arange(1, len(known) + 1)
        return LegColumns(scores, ranks)

    def _rows_at(self, positions: Any) -> list[int]:
        return [(int(position) - 7) // 10 for position in positions]

    async def chunks(self, positions: Any) -> list[Chunk]:
        return [make_chunk(f"{self.name}{row}", collection_id=self.name) for row in self._rows_at(positions)]

    async def vectors(self, positions: Any) -> Any:
        offset = 100 * ord(self.name)
        return np.array([[row + offset, 1] for row in self._rows_at(positions)], np.float32).reshape(-1, 2)

    async def neighbours(self, positions: Any, count: int) -> list[tuple[list[Chunk], list[Chunk]]]:
        return [
            ([make_chunk(f"before {self.name}{row}")] * count, [make_chunk(f"after {self.name}{row}")])
            for row in self._rows_at(positions)
        ]


def pool(*founds: Found, count: int = 10) -> Pooled:
    return Pooled(founds, count)  # type: ignore[arg-type]  # all that is asked of what was found


async def names(pooled: Pooled) -> list[str]:
    return [chunk.id for chunk in await pooled.chunks(np.arange(len(pooled.candidates)))]


def ranks(pooled: Pooled, leg: Leg) -> list[int | None]:
    signals = [pooled.signals(index).get(leg) for index in range(len(pooled.candidates))]
    return [None if signal is None else signal.rank for signal in signals]


async def test_pool_of_one_collection_is_what_it_found() -> None:
    pooled = pool(Found("a", [(0.5, 1.0), (0.9, NAN)]))
    assert await names(pooled) == ["a0", "a1"]
    assert ranks(pooled, Leg.DENSE) == [2, 1]
    assert ranks(pooled, Leg.LEXICAL) == [1, None]


async def test_pool_ranks_each_leg_over_all_collections_and_drops_the_rest() -> None:
    pooled = pool(Found("a", [(0.9, 1.0), (0.1, 0.5)]), Found("b", [(0.8, 3.0), (0.7, 0.1)]), count=2)
    assert await names(pooled) == ["a0", "b0"]
    assert ranks(pooled, Leg.DENSE) == [1, 2]
    assert ranks(pooled, Leg.LEXICAL) == [2, 1]


async def test_pool_candidate_of_one_leg_keeps_its_score_in_the_other() -> None:
    pooled = pool(Found("a", [(0.9, 0.2)]), Found("b", [(0.1, 3.0)]), count=1)
    assert await names(pooled) == ["a0", "b0"]
    assert ranks(pooled, Leg.LEXICAL) == [None, 1]
    assert pooled.signals(0)[Leg.LEXICAL].score == 0.2


async def test_pool_leg_that_one_collection_did_not_run_has_no_scores_there() -> None:
    pooled = pool(Found("a", [(0.9, 9.0)], (Leg.DENSE,)), Found("b", [(0.5, 2.0)]))
    assert set(pooled.signals(0)) == {Leg.DENSE}
    assert ranks(pooled, Leg.LEXICAL) == [None, 1]


async def test_pool_leg_that_nobody_ran_is_none() -> None:
    pooled = pool(Found("a", [(0.9, 0.0)], (Leg.DENSE,)), Found("b", [(0.5, 0.0)], (Leg.DENSE,)))
    assert pooled.candidates.lexical is None
    assert await names(pooled) == ["a0", "b0"]


@pytest.mark.parametrize("legs", [tuple(Leg), ()])
async def test_pool_of_nothing_is_empty(legs: tuple[Leg, ...]) -> None:
    for founds in ([Found("a", [], legs)], [Found("a", [], legs), Found("b", [], legs)]):
        pooled = pool(*founds)
        none = np.arange(0)
        assert len(pooled.candidates) == 0
        assert await pooled.chunks(none) == []
        assert await pooled.neighbours(none, 1) == []
        assert (await pooled.vectors(none)).shape[0] == 0


async def test_pool_everything_about_a_candidate_comes_from_its_own_collection_in_the_order_asked() -> None:
    pooled = pool(Found("a", [(0.9, 1.0), (0.8, 1.0)]), Found("b", [(0.7, 1.0)]))
    wanted = np.array([2, 0, 1])
    assert [chunk.id for chunk in await pooled.chunks(wanted)] == ["b0", "a0", "a1"]
    assert (await pooled.vectors(wanted))[:, 0].tolist() == [9800, 9700, 9701]
    around = await pooled.neighbours(wanted, 2)
    assert [(len(before), after[0].id) for before, after in around] == [
        (2, "after b0"),
        (2, "after a0"),
        (2, "after a1"),
    ]


_SCORES = st.floats(-1, 1).map(lambda score: round(score, 2))
_ROWS = st.lists(st.tuples(st.one_of(_SCORES, st.just(NAN)), st.one_of(_SCORES, st.just(NAN))), max_size=6)


@given(st.lists(_ROWS, min_size=2, max_size=4), st.integers(1, 5))
def test_pool_each_leg_is_the_best_of_all_collections(rows: list[Rows], count: int) -> None:
    pooled = pool(*(Found(chr(ord("a") + index), each) for index, each in enumerate(rows)), count=count)
    for leg, place in ((Leg.DENSE, 0), (Leg.LEXICAL, 1)):
        expected = sorted(
            (row[place] for each in rows for row in each if row[place] == row[place]), reverse=True
        )
        columns = pooled.candidates.dense if leg is Leg.DENSE else pooled.candidates.lexical
        assert columns is not None
        returned = np.flatnonzero(columns.ranks)
        by_rank = returned[np.argsort(columns.ranks[returned])]
        assert columns.ranks[by_rank].tolist() == list(range(1, len(by_rank) + 1))
        assert columns.scores[by_rank].tolist() == expected[:count]
    dense, lexical = pooled.candidates.dense, pooled.candidates.lexical
    assert dense is not None
    assert lexical is not None
    assert np.all((dense.ranks > 0) | (lexical.ranks > 0))
