"""The finds of several collections as one: ranked per leg by score, whichever collection they come from.

Cosines of one model are comparable; BM25 scores are so as far as the collections' term statistics are alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings
from rag_server.domain.candidates import Candidates, LegColumns, Positions, Ranks, Scores
from rag_server.domain.document import Chunk
from rag_server.domain.retrieval import Leg, LegSignal
from rag_server.query.retriever import Found

Indices = npt.NDArray[np.int64]
"""Numbers of pooled candidates."""


class Pooled:
    """Candidates of all collections under one numbering, and where to get the rest about them."""

    def __init__(self, founds: Sequence[Found], count: int) -> None:
        """Pool `founds`, at most `count` candidates per leg."""
        self.founds = tuple(founds)
        if len(founds) == 1:
            own = founds[0].candidates
            self._owners = np.zeros(len(own), np.int64)
            self._positions = own.positions
            self.candidates = Candidates(np.arange(len(own)), own.dense, own.lexical)
            return
        columns = [found.candidates for found in founds]
        sizes = [len(each) for each in columns]
        owners = np.repeat(np.arange(len(founds)), sizes)
        positions = np.concatenate([each.positions for each in columns])
        legs = {leg: _pool(columns, sizes, leg, count) for leg in Leg}
        ranked = [columns.ranks > 0 for columns in legs.values() if columns is not None]
        kept = np.flatnonzero(np.logical_or.reduce(ranked)) if ranked else np.zeros(0, np.int64)
        self._owners = owners[kept]
        self._positions = positions[kept]
        dense, lexical = (_take(legs[leg], kept) for leg in (Leg.DENSE, Leg.LEXICAL))
        self.candidates = Candidates(np.arange(len(kept)), dense, lexical)

    async def chunks(self, indices: Indices) -> list[Chunk]:
        """Return the passages, in order."""
        chunks: list[Chunk | None] = [None] * len(indices)
        for places, found, positions in self._by_owner(indices):
            for place, chunk in zip(places, await found.chunks(positions), strict=True):
                chunks[place] = chunk
        return [chunk for chunk in chunks if chunk is not None]

    async def vectors(self, indices: Indices) -> Embeddings:
        """Return their vectors, `(len(indices), d)`."""
        parts = [
            (places, await found.vectors(positions)) for places, found, positions in self._by_owner(indices)
        ]
        if not parts:
            return np.zeros((0, 0), np.float32)
        vectors = np.empty((len(indices), parts[0][1].shape[1]), np.float32)
        for places, part in parts:
            vectors[places] = part
        return vectors

    async def neighbours(self, indices: Indices, count: int) -> list[tuple[list[Chunk], list[Chunk]]]:
        """Return up to `count` chunks before and after each, in the order of their document."""
        found_around: list[tuple[list[Chunk], list[Chunk]]] = [([], []) for _ in indices]
        for places, found, positions in self._by_owner(indices):
            around = await found.neighbours(positions, count)
            for place, each in zip(places, around, strict=True):
                found_around[place] = each
        return found_around

    def columns(self, leg: Leg) -> LegColumns | None:
        """Return what a leg made of the candidates; None: it did not run."""
        return _columns_of(self.candidates, leg)

    def signals(self, index: int) -> dict[Leg, LegSignal]:
        """Return what each leg made of a candidate."""
        legs = {Leg.DENSE: self.candidates.dense, Leg.LEXICAL: self.candidates.lexical}
        return {
            leg: LegSignal(int(columns.ranks[index]) or None, float(columns.scores[index]))
            for leg, columns in legs.items()
            if columns is not None and not np.isnan(columns.scores[index])
        }

    def _by_owner(self, indices: Indices) -> Sequence[tuple[Indices, Found | Pooled, Positions]]:
        if len(self.founds) == 1:
            return [(np.arange(len(indices)), self.founds[0], self._positions[indices])]
        owners = self._owners[indices]
        return [
            (np.flatnonzero(owners == owner), self.founds[owner], self._positions[indices[owners == owner]])
            for owner in np.unique(owners)
        ]


class JoinedPool(Pooled):
    """Some candidates of several pools, each once."""

    def __init__(
        self, pools: Sequence[Pooled], owners: Indices, indices: Indices, candidates: Candidates
    ) -> None:
        """Join pools.

        Args:
            pools: Whose they are.
            owners: Of which pool each candidate is, shape `(m,)`.
            indices: Its number there, shape `(m,)`.
            candidates: Their columns.
        """
        self.founds = tuple(found for pool in pools for found in pool.founds)
        self.candidates = candidates
        self._pools = pools
        self._owners = owners
        self._positions = indices

    def _by_owner(self, indices: Indices) -> Sequence[tuple[Indices, Found | Pooled, Positions]]:
        owners = self._owners[indices]
        return [
            (np.flatnonzero(owners == owner), self._pools[owner], self._positions[indices[owners == owner]])
            for owner in np.unique(owners)
        ]


def _columns_of(candidates: Candidates, leg: Leg) -> LegColumns | None:
    return candidates.dense if leg is Leg.DENSE else candidates.lexical


def _pool(parts: Sequence[Candidates], sizes: Sequence[int], leg: Leg, count: int) -> LegColumns | None:
    """Return one leg over all collections; a collection that the leg did not search contributes nothing."""
    columns = [_columns_of(part, leg) for part in parts]
    if not any(columns):
        return None
    scores: Scores = np.concatenate(
        [
            np.full(size, np.nan) if each is None else each.scores
            for each, size in zip(columns, sizes, strict=True)
        ]
    )
    own: Ranks = np.concatenate(
        [
            np.zeros(size, np.int32) if each is None else each.ranks
            for each, size in zip(columns, sizes, strict=True)
        ]
    )
    returned = np.flatnonzero(own > 0)
    best = returned[np.lexsort((own[returned], -scores[returned]))][:count]
    ranks = np.zeros(len(own), np.int32)
    ranks[best] = np.arange(1, len(best) + 1)
    return LegColumns(scores, ranks)


def _take(columns: LegColumns | None, kept: Indices) -> LegColumns | None:
    if columns is None or len(kept) == len(columns.ranks):
        return columns
    return LegColumns(columns.scores[kept], columns.ranks[kept])
