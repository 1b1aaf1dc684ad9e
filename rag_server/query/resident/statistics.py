"""What BM25 knows of a collection: how many rows live, how long they are, and how many hold each term.

Exact after every insert and delete: a change adds or takes away what its own rows hold, as their
sequences tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from rag_server.query.resident.postings import Array, Int32s, Int64s, Postings, ranges


@dataclass(frozen=True, slots=True, eq=False)
class TermStatistics:
    """Immutable; a change makes another one."""

    row_count: int
    """Living rows."""
    total_length: int
    """Their occurrences of terms."""
    document_frequencies: Int32s
    """Shape `(v,)`: living rows that hold the term with this id; ids from `v` on are in none."""

    @classmethod
    def empty(cls) -> Self:
        """Return the statistics of a collection without rows."""
        return cls(0, 0, np.zeros(0, np.int32))

    @property
    def average_length(self) -> float:
        """Occurrences per living row; 0 without rows."""
        return self.total_length / self.row_count if self.row_count else 0.0

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.document_frequencies.nbytes

    def frequencies_of(self, term_ids: Int32s) -> Int32s:
        """Return in how many living rows each term stands."""
        known = self.document_frequencies
        frequencies = np.zeros(len(term_ids), np.int32)
        is_known = term_ids < len(known)
        frequencies[is_known] = known[term_ids[is_known]]
        return frequencies

    def plus(self, postings: Postings, rows: Int64s | None) -> Self:
        """Return the statistics with more living rows; `rows` are distinct, None means all.

        O(occurrences in these rows), and a copy of the frequencies.
        """
        terms, frequencies = _counts(postings, rows)
        size = max(len(self.document_frequencies), int(terms.max(initial=-1)) + 1)
        sums = np.zeros(size, np.int32)
        sums[: len(self.document_frequencies)] = self.document_frequencies
        sums[terms] += frequencies
        return self._with(sums, *_extent(postings, rows), sign=1)

    def minus(self, postings: Postings, rows: Int64s | None) -> Self:
        """Return the statistics without some living rows; `rows` are distinct, None means all.

        O(occurrences in these rows), and a copy of the frequencies.

        Raises:
            ValueError: The rows were not among those counted.
        """
        terms, frequencies = _counts(postings, rows)
        size = max(len(self.document_frequencies), int(terms.max(initial=-1)) + 1)
        if size > len(self.document_frequencies):
            raise ValueError("rows that were never counted cannot be taken away")
        sums = self.document_frequencies.copy()
        sums[terms] -= frequencies
        if (sums[terms] < 0).any():
            raise ValueError("rows that were never counted cannot be taken away")
        return self._with(sums, *_extent(postings, rows), sign=-1)

    def arrays(self) -> dict[str, Array]:
        """Return what `from_arrays` takes."""
        return {
            "statistics.totals": np.array([self.row_count, self.total_length], np.int64),
            "statistics.document_frequencies": self.document_frequencies,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """Return the statistics that `arrays` was made from; it may hold other arrays too.

        Raises:
            KeyError: An array is missing.
        """
        row_count, total_length = arrays["statistics.totals"].tolist()
        frequencies: npt.NDArray[np.int32] = np.asarray(arrays["statistics.document_frequencies"], np.int32)
        return cls(row_count, total_length, frequencies)

    def _with(self, sums: Int32s, row_count: int, length: int, *, sign: int) -> Self:
        counts = self.row_count + sign * row_count, self.total_length + sign * length
        if min(counts) < 0:
            raise ValueError("rows that were never counted cannot be taken away")
        return type(self)(*counts, sums)


def _extent(postings: Postings, rows: Int64s | None) -> tuple[int, int]:
    """Return how many rows, and their occurrences."""
    lengths = postings.lengths if rows is None else postings.lengths[rows]
    return len(lengths), int(lengths.sum(dtype=np.int64))


def _counts(postings: Postings, rows: Int64s | None) -> tuple[Int32s, Int32s]:
    """Return distinct term ids and in how many of `rows` each stands."""
    if rows is None:
        return postings.term_ids, np.diff(postings.offsets).astype(np.int32)
    lengths = postings.lengths[rows].astype(np.int64)
    terms = postings.sequence_terms[ranges(postings.sequence_offsets[rows], lengths)].astype(np.int64)
    pairs = terms * max(len(rows), 1) + np.repeat(np.arange(len(rows)), lengths)
    ids, counts = np.unique(np.unique(pairs) // max(len(rows), 1), return_counts=True)
    return ids.astype(np.int32), counts.astype(np.int32)
