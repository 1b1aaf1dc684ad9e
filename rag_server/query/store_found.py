"""What one probe found in the chunk store, and what can be asked about it."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import ChunkStore, Embeddings
from rag_server.concurrency import run_all
from rag_server.domain.candidates import Candidates, LegColumns, Positions
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.retrieval import Engine, Leg
from rag_server.domain.stored import Hit, Scope
from rag_server.query.retriever import Inspected, Probe

Vector = npt.NDArray[np.float32]
"""Shape `(d,)`."""


class Visibility(Protocol):
    """Knows which revision of each document readers see."""

    async def visible_revisions(
        self, tenant_id: str, collection_uid: str, document_ids: Sequence[str]
    ) -> Mapping[str, int]:
        """Return the visible revision of each of the documents that has one."""
        ...


def scope_of(probe: Probe) -> Scope:
    """Return what results of `probe` must satisfy, in either leg."""
    if probe.lexical is None:
        return Scope(probe.filter)
    return Scope(probe.filter, probe.lexical.phrases, probe.lexical.excluded)


class Questions:
    """What can be asked of the store about single chunks of a collection, in the light of one probe."""

    def __init__(self, collection: Collection, store: ChunkStore, probe: Probe) -> None:
        self.collection = collection
        self.store = store
        self.probe = probe

    async def vectors(self, chunk_ids: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors of the chunks that are stored."""
        if not chunk_ids:
            return {}
        stored = await self.store.read_chunks(self.collection, chunk_ids)
        return {chunk.id: vector for chunk, vector in zip(stored.chunks, stored.vectors, strict=True)}

    async def bm25(self, chunk_ids: Sequence[str]) -> dict[str, float]:
        """Return what the lexical leg gives each chunk; 0 to one that holds no term."""
        scores = dict.fromkeys(chunk_ids, 0.0)
        if scores and self.probe.lexical is not None and self.probe.lexical.terms:
            hits = await self.store.search_lexical(
                self.collection,
                self.probe.lexical.terms,
                limit=len(scores),
                scope=Scope(chunk_ids=tuple(scores)),
            )
            scores |= {hit.chunk.id: hit.score for hit in hits}
        return scores

    async def passing(self, chunk_ids: Sequence[str], vector: Vector) -> set[str]:
        """Return which chunks the conditions let pass; any `vector` will do."""
        hits = await self.store.search_dense(
            self.collection,
            vector,
            limit=len(chunk_ids),
            scope=replace(scope_of(self.probe), chunk_ids=tuple(chunk_ids)),
        )
        return {hit.chunk.id for hit in hits}

    def cosine(self, vector: Vector) -> float:
        """Return what the dense leg gives a chunk; NaN when it does not run."""
        query = self.probe.vector
        if query is None:
            return float("nan")
        return float(vector @ query / (np.linalg.norm(vector) * np.linalg.norm(query)))


class StoreFound:
    """`Found` in the chunk store: passages are kept from the search, all else is read when asked for.

    A revision that was replaced since the search is removed from the store sooner or later: its neighbours
    are missing then, and its vectors are zero.
    """

    def __init__(
        self,
        questions: Questions,
        visibility: Visibility,
        chunks: Sequence[Chunk],
        candidates: Candidates,
        vectors: dict[str, Vector],
    ) -> None:
        self._questions = questions
        self._collection = questions.collection
        self._visibility = visibility
        self._chunks = chunks
        self._candidates = candidates
        self._vectors = vectors

    @classmethod
    async def complete(
        cls, questions: Questions, visibility: Visibility, legs: Mapping[Leg, Sequence[Hit]]
    ) -> StoreFound:
        """Join `legs`, best hits first, and score with each what only the other one returned."""
        chunks = {hit.chunk.id: hit.chunk for hits in legs.values() for hit in hits}
        # cosines are computed here: a second dense search would cost as much as the first
        completing: tuple[Coroutine[Any, Any, dict[str, Any]], ...] = (
            questions.vectors(_unscored(chunks, legs, Leg.DENSE)),
            questions.bm25(_unscored(chunks, legs, Leg.LEXICAL)),
        )
        vectors, bm25 = await run_all(completing)
        cosines = {chunk_id: questions.cosine(vector) for chunk_id, vector in vectors.items()}
        candidates = Candidates(
            np.arange(len(chunks), dtype=np.int64),
            _columns(chunks, legs.get(Leg.DENSE), cosines),
            _columns(chunks, legs.get(Leg.LEXICAL), bm25),
        )
        return cls(questions, visibility, list(chunks.values()), candidates, vectors)

    @property
    def candidates(self) -> Candidates:
        return self._candidates

    @property
    def revision(self) -> int:
        return self._collection.revision

    @property
    def is_stale(self) -> bool:
        return False

    @property
    def engine(self) -> Engine:
        return Engine.STORE

    @property
    def chunk_count(self) -> int | None:
        return None

    @property
    def passing_count(self) -> int | None:
        return None

    @property
    def dense_method(self) -> str:
        return "" if self._candidates.dense is None else "store"

    @property
    def document_frequencies(self) -> None:
        return None

    async def inspect(self, chunk_ids: Sequence[str]) -> list[Inspected | None]:
        """Ask the store and the metadata anew: what changed since the search is told as it is now."""
        stored = await self._questions.store.read_chunks(self._collection, chunk_ids)
        if not len(stored):
            return [None] * len(chunk_ids)
        revisions = await self._visibility.visible_revisions(
            self._collection.tenant_id,
            self._collection.uid,
            sorted({chunk.document_id for chunk in stored.chunks}),
        )
        ids = [chunk.id for chunk in stored.chunks]
        passing = await self._questions.passing(ids, stored.vectors[0])
        bm25 = await self._questions.bm25(ids)
        known = {
            chunk.id: Inspected(chunk.id in passing, self._scores(vector, bm25[chunk.id]))
            for chunk, vector in zip(stored.chunks, stored.vectors, strict=True)
            if revisions.get(chunk.document_id) == chunk.document_revision
        }
        return [known.get(chunk_id) for chunk_id in chunk_ids]

    async def chunks(self, positions: Positions) -> list[Chunk]:
        return [self._chunks[position] for position in positions]

    async def vectors(self, positions: Positions) -> Embeddings:
        ids = [chunk.id for chunk in await self.chunks(positions)]
        self._vectors |= await self._questions.vectors(
            [chunk_id for chunk_id in ids if chunk_id not in self._vectors]
        )
        gone = np.zeros(self._collection.dimension, np.float32)
        rows = [self._vectors.get(chunk_id, gone) for chunk_id in ids]
        return np.array(rows, np.float32).reshape(len(rows), self._collection.dimension)

    async def neighbours(self, positions: Positions, count: int) -> list[tuple[list[Chunk], list[Chunk]]]:
        return await run_all(self._around(chunk, count) for chunk in await self.chunks(positions))

    async def _around(self, chunk: Chunk, count: int) -> tuple[list[Chunk], list[Chunk]]:
        first = max(0, chunk.ordinal - count)
        window = await self._questions.store.list_chunks(
            self._collection,
            chunk.document_id,
            chunk.document_revision,
            first_ordinal=first,
            limit=chunk.ordinal + count + 1 - first,
        )
        before = [each for each in window if each.ordinal < chunk.ordinal]
        return before, [each for each in window if each.ordinal > chunk.ordinal]

    def _scores(self, vector: Vector, bm25: float) -> dict[Leg, float]:
        scores = {}
        if self._candidates.dense is not None:
            scores[Leg.DENSE] = self._questions.cosine(vector)
        if self._candidates.lexical is not None:
            scores[Leg.LEXICAL] = bm25
        return scores


def _unscored(chunk_ids: Iterable[str], legs: Mapping[Leg, Sequence[Hit]], leg: Leg) -> list[str]:
    """Return the chunks that `leg`, if it ran, did not return."""
    if leg not in legs:
        return []
    returned = {hit.chunk.id for hit in legs[leg]}
    return [chunk_id for chunk_id in chunk_ids if chunk_id not in returned]


def _columns(
    chunk_ids: Iterable[str], hits: Sequence[Hit] | None, others: Mapping[str, float]
) -> LegColumns | None:
    """Return one leg's view of the candidates; NaN for one that was removed before it could be scored."""
    if hits is None:
        return None
    ranks = {hit.chunk.id: rank for rank, hit in enumerate(hits, 1)}
    scores = {**others, **{hit.chunk.id: hit.score for hit in hits}}
    ids = list(chunk_ids)
    return LegColumns(
        np.array([scores.get(chunk_id, np.nan) for chunk_id in ids], np.float64),
        np.array([ranks.get(chunk_id, 0) for chunk_id in ids], np.int32),
    )
