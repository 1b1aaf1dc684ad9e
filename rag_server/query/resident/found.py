"""What a probe found in a collection in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from rag_server.backends.protocols import Embeddings
from rag_server.domain.candidates import Candidates, Positions
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.retrieval import Engine
from rag_server.query.resident.search import Hits, dense_method, scores_at, vectors_at
from rag_server.query.resident.state import Part, State
from rag_server.query.retriever import Inspected, Probe


class ResidentFound:
    """`Found` in one state; it keeps the state, so what it returns never changes."""

    def __init__(
        self, collection: Collection, state: State, probe: Probe, hits: Hits, *, is_stale: bool
    ) -> None:
        self._collection = collection
        self._state = state
        self._probe = probe
        self._hits = hits
        self._is_stale = is_stale

    @property
    def candidates(self) -> Candidates:
        return self._hits.candidates

    @property
    def revision(self) -> int:
        return self._state.revision

    @property
    def is_stale(self) -> bool:
        return self._is_stale

    @property
    def engine(self) -> Engine:
        return Engine.RESIDENT

    @property
    def chunk_count(self) -> int:
        return self._state.alive_count

    @property
    def passing_count(self) -> int:
        return self._hits.passing_count

    @property
    def dense_method(self) -> str:
        return dense_method(self._state, self._hits)

    @property
    def document_frequencies(self) -> Sequence[int]:
        return self._hits.document_frequencies

    async def inspect(self, chunk_ids: Sequence[str]) -> list[Inspected | None]:
        return [self._inspect(chunk_id) for chunk_id in chunk_ids]

    async def chunks(self, positions: Positions) -> list[Chunk]:
        places: dict[Part, list[int]] = defaultdict(list)
        for place, position in enumerate(positions.tolist()):
            places[self._state.part_of(position)].append(place)
        chunks: dict[int, Chunk] = {}
        for part, own in places.items():
            chunks |= zip(own, self._at(part, positions[own] - part.base), strict=True)
        return [chunks[place] for place in range(len(positions))]

    async def vectors(self, positions: Positions) -> Embeddings:
        return vectors_at(self._state, positions)

    async def neighbours(self, positions: Positions, count: int) -> list[tuple[list[Chunk], list[Chunk]]]:
        return [self._neighbours(int(position), count) for position in positions]

    def _inspect(self, chunk_id: str) -> Inspected | None:
        for part, (mask, _) in zip(self._state.parts, self._hits.masks, strict=True):
            row = part.segment.passages.find(chunk_id)
            if row is None or (part.alive is not None and not part.alive[row]):
                continue
            scores = scores_at(self._state, self._hits, self._probe, self._collection.bm25, part.base + row)
            return Inspected(mask is None or bool(mask[row]), scores)
        return None

    def _neighbours(self, position: int, count: int) -> tuple[list[Chunk], list[Chunk]]:
        part = self._state.part_of(position)
        row = position - part.base
        start, end = part.segment.rows_of(int(part.segment.row_documents[row]))
        before = np.arange(max(start, row - count), row)
        after = np.arange(row + 1, min(end, row + 1 + count))
        return self._at(part, before), self._at(part, after)

    def _at(self, part: Part, rows: Positions) -> list[Chunk]:
        segment = part.segment
        sources = segment.documents.sources(
            segment.row_documents[rows], self._collection.tenant_id, self._collection.id
        )
        return segment.passages.chunks(rows, sources)
