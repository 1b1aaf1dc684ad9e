"""A segment: passages that never change, with everything that searching them needs.

A collection in memory is a list of segments, as in Lucene: increments add small ones, deletions only mark
rows as dead (`state.py`), and merging makes one of several. What never changes needs no lock, can be
mapped from a file, and lets masks of filters be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings
from rag_server.domain.filter import Filter
from rag_server.domain.ids import new_id
from rag_server.query.resident.codes import Codes
from rag_server.query.resident.dense import CODES_THRESHOLD_ROWS, GRAPH_THRESHOLD_ROWS
from rag_server.query.resident.documents import Documents, concatenate_documents
from rag_server.query.resident.filter_mask import matching
from rag_server.query.resident.graph import Graph
from rag_server.query.resident.passages import Array, Passages, Rows, concatenate_passages
from rag_server.query.resident.postings import Postings, ranges
from rag_server.query.resident.records import RecordColumns

Mask = npt.NDArray[np.bool_]
"""Shape `(n,)`: the rows that count."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """`n` passages of `k` documents; a row is a passage's number in it."""

    passages: Passages
    documents: Documents
    row_documents: npt.NDArray[np.int32]
    """Shape `(n,)`: each row's document; ascending, so a document's rows stand together."""
    postings: Postings
    vectors: Embeddings
    """Shape `(n, d)`; those inside the graph where there is one."""
    codes: Codes | None = None
    graph: Graph | None = None
    records: RecordColumns | None = None
    """Of the rows that have metadata of their own; None: there are none."""
    id: str = field(default_factory=new_id)

    def __len__(self) -> int:
        return len(self.row_documents)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        vectors = self.graph.nbytes if self.graph is not None else self.vectors.nbytes
        vectors += self.codes.nbytes if self.codes is not None else 0
        parts = self.passages.nbytes + self.documents.nbytes + self.row_documents.nbytes
        parts += self.records.nbytes if self.records is not None else 0
        return int(parts + self.postings.nbytes + vectors)

    @property
    def is_indexed(self) -> bool:
        """Whether it has the codes and the graph that its size asks for."""
        has_codes = self.codes is not None or len(self) < CODES_THRESHOLD_ROWS
        return has_codes and (self.graph is not None or len(self) < GRAPH_THRESHOLD_ROWS)

    def indexed(self, should_stop: Callable[[], bool]) -> Segment | None:
        """Return the same segment with the codes and the graph that its size asks for; None: it was stopped.

        Blocks: for seconds, and for minutes where a graph is due.
        """
        codes, graph = self.codes, self.graph
        if codes is None and len(self) >= CODES_THRESHOLD_ROWS:
            codes = Codes.build(self.vectors, should_stop=should_stop)
            if codes is None:
                return None
        if graph is None and len(self) >= GRAPH_THRESHOLD_ROWS:
            graph = Graph.build(self.vectors, should_stop=should_stop)
            if graph is None:
                return None
        # the graph holds the vectors, so that they exist once
        vectors = self.vectors if graph is None else graph.vectors
        return replace(self, codes=codes, graph=graph, vectors=vectors)

    def matching(self, filter: Filter) -> Mask:
        """Return which rows pass `filter`: by their document's fields, records by their own as well."""
        mask = matching(self.documents.columns, filter)[self.row_documents]
        if self.records is not None:
            mask[self.records.rows] = matching(self.records.columns, filter)
        return mask

    def rows_of(self, document: int) -> tuple[int, int]:
        """Return the first row of a document and the one after its last."""
        start, end = np.searchsorted(self.row_documents, [document, document + 1])
        return int(start), int(end)

    def arrays(self) -> dict[str, Array]:
        """Return everything but vectors, codes and graph."""
        arrays: dict[str, Array] = {"row_documents": self.row_documents}
        for name in ("passages", "documents", "postings", *(["records"] if self.records else [])):
            arrays |= {f"{name}.{key}": value for key, value in getattr(self, name).arrays().items()}
        return arrays

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, Array],
        vectors: Embeddings,
        codes: Codes | None,
        graph: Graph | None,
        *,
        id: str,
    ) -> Segment:
        """Return the segment that `arrays` was made from."""

        def below(name: str) -> dict[str, Array]:
            start = len(name) + 1
            return {key[start:]: value for key, value in arrays.items() if key.startswith(f"{name}.")}

        return cls(
            passages=Passages.from_arrays(below("passages")),
            documents=Documents.from_arrays(below("documents")),
            row_documents=arrays["row_documents"],  # type: ignore[arg-type]  # as written by `arrays`
            postings=Postings.from_arrays(below("postings")),
            vectors=vectors,
            codes=codes,
            graph=graph,
            records=RecordColumns.from_arrays(below("records")),
            id=id,
        )


def merge(parts: Sequence[tuple[Segment, Mask | None]]) -> Segment:
    """Return one segment with the living rows of each part, in order, not indexed. O(bytes taken)."""
    rows = [
        np.arange(len(segment)) if alive is None else np.flatnonzero(alive).astype(np.int64)
        for segment, alive in parts
    ]
    kept = [
        np.unique(segment.row_documents[chosen], return_inverse=True)
        for (segment, _), chosen in zip(parts, rows, strict=True)
    ]
    bases = np.cumsum([0, *(len(documents) for documents, _ in kept)])
    row_documents = [
        (codes + base).astype(np.int32) for (_, codes), base in zip(kept, bases[:-1], strict=True)
    ]
    segments = [segment for segment, _ in parts]
    passages = concatenate_passages(list(zip([s.passages for s in segments], rows, strict=True)))
    documents = concatenate_documents(
        [
            (segment.documents, documents.astype(np.int64))
            for segment, (documents, _) in zip(segments, kept, strict=True)
        ]
    )
    of_rows = np.concatenate(row_documents)
    return Segment(
        passages=passages,
        documents=documents,
        row_documents=of_rows,
        records=RecordColumns.of(passages, documents, of_rows),
        postings=_merge_postings(
            [(segment.postings, chosen) for segment, chosen in zip(segments, rows, strict=True)]
        ),
        vectors=np.concatenate(
            [segment.vectors[chosen] for segment, chosen in zip(segments, rows, strict=True)]
        ),
    )


def _merge_postings(parts: Sequence[tuple[Postings, Rows]]) -> Postings:
    lengths = [np.diff(postings.sequence_offsets)[rows] for postings, rows in parts]
    terms = [
        postings.sequence_terms[ranges(postings.sequence_offsets[rows], length)]
        for (postings, rows), length in zip(parts, lengths, strict=True)
    ]
    offsets = np.zeros(sum(map(len, lengths)) + 1, np.int64)
    np.cumsum(np.concatenate(lengths), out=offsets[1:])
    return Postings.build(offsets, np.concatenate(terms))
