"""Makes a segment of stored passages that arrive in any order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rag_server.domain.document import Chunk, DocumentHead
from rag_server.domain.stored import StoredChunks
from rag_server.query.resident.documents import Documents
from rag_server.query.resident.passages import Passages, Rows, concatenate_passages
from rag_server.query.resident.postings import Postings, ranges
from rag_server.query.resident.records import RecordColumns
from rag_server.query.resident.segment import Segment, merge
from rag_server.query.resident.vocabulary import Vocabulary


class SegmentBuilder:
    """Takes batches of what the store holds and keeps the passages of given document revisions.

    Room is made at once, since the metadata tells how many passages each document has: every vector is
    written where it stays. Costs O(passages) memory beside the segment itself.
    """

    def __init__(self, heads: Sequence[DocumentHead], dimension: int, vocabulary: Vocabulary) -> None:
        self._heads = sorted(heads, key=lambda head: head.id)
        counts = np.array([head.chunk_count for head in self._heads], np.int64)
        self._bases = np.concatenate([[0], np.cumsum(counts)])
        self._codes = {head.id: code for code, head in enumerate(self._heads)}
        self._counts = counts
        self._vocabulary = vocabulary
        count = int(self._bases[-1])
        self._pieces: list[Passages] = []
        self._vectors = np.zeros((count, dimension), np.float32)
        self._sources = np.full(count, -1, np.int64)
        self._lengths: list[npt.NDArray[np.int64]] = []
        self._terms: list[npt.NDArray[np.int32]] = []
        self._taken = 0

    @property
    def missing_count(self) -> int:
        """Passages that the metadata knows and no batch has held yet."""
        return int(np.count_nonzero(self._sources < 0))

    def add(self, stored: StoredChunks) -> None:
        """Take what belongs to the wanted revisions; a passage that comes twice is taken once. Blocks."""
        wanted = [self._row_of(chunk) for chunk in stored.chunks]
        chosen = [index for index, row in enumerate(wanted) if row is not None]
        if not chosen:
            return
        rows = [row for row in wanted if row is not None]
        self._vectors[rows] = stored.vectors[chosen]
        offsets, terms = self._vocabulary.add_all([stored.lexemes[index] for index in chosen])
        # as columns at once: a passage as an object takes twice the room
        self._pieces.append(Passages.of([stored.chunks[index] for index in chosen]))
        self._sources[rows] = np.arange(self._taken, self._taken + len(rows))
        self._taken += len(rows)
        self._lengths.append(np.diff(offsets))
        self._terms.append(terms)

    def build(self) -> Segment:
        """Return the segment; passages that never came are left out. Blocks; call it once, at the end."""
        present = self._sources >= 0
        order = self._sources[present]
        row_documents = np.repeat(np.arange(len(self._heads), dtype=np.int32), self._counts)
        passages, documents = self._passages(order), Documents.of(self._heads)
        segment = Segment(
            passages=passages,
            documents=documents,
            row_documents=row_documents[present],
            records=RecordColumns.of(passages, documents, row_documents[present]),
            postings=self._postings(order),
            vectors=self._vectors if present.all() else self._vectors[present],
        )
        return (
            segment if len(np.unique(segment.row_documents)) == len(self._heads) else merge([(segment, None)])
        )

    def _row_of(self, chunk: Chunk) -> int | None:
        code = self._codes.get(chunk.document_id)
        if code is None:
            return None
        is_wanted = (
            chunk.document_revision == self._heads[code].revision and chunk.ordinal < self._counts[code]
        )
        return int(self._bases[code]) + chunk.ordinal if is_wanted else None

    def _passages(self, order: Rows) -> Passages:
        if not self._pieces:
            return Passages.of([])
        arrived = concatenate_passages([(piece, np.arange(len(piece))) for piece in self._pieces])
        self._pieces.clear()
        return concatenate_passages([(arrived, order)])

    def _postings(self, order: Rows) -> Postings:
        if not self._terms:
            return Postings.build(np.zeros(1, np.int64), np.zeros(0, np.int32))
        lengths = np.concatenate(self._lengths)
        starts = np.cumsum(lengths) - lengths
        terms = np.concatenate(self._terms)
        self._terms.clear()
        offsets = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
        return Postings.build(offsets, terms[ranges(starts[order], lengths[order])])
