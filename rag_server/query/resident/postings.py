"""The lexical index of one segment: which rows hold which terms, how often, and in what order.

Three views of the same `n` rows with `t` occurrences of terms, `p` distinct (term, row) pairs and `u`
distinct terms:

- the *sequences*, row by row in text order (a forward index): for phrases, and to know what the statistics
  lose with a row;
- the *posting lists*, term by term (compressed sparse rows), rows ascending: for BM25;
- for terms in an eighth of all rows and more, a *column* with the frequency in every row: reading it costs
  a memory access where the list costs a binary search.

Each posting also has an *impact* for the pruned search (`maxscore.py`): a byte that bounds what the term adds
to the row's score. Precomputed, quantised contributions are those of Anh and Moffat, "Pruned query
evaluation using pre-computed impacts", SIGIR 2006; here they only bound, so that rounding costs no
exactness, and a factor keeps them bounds when average length or parameters are no longer those of the build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from rag_server.domain.lexical import Bm25

Array = npt.NDArray[np.generic]
Bools = npt.NDArray[np.bool_]
Float64s = npt.NDArray[np.float64]
Frequencies = npt.NDArray[np.unsignedinteger]
"""The smallest unsigned type that holds every frequency of the segment."""
Impacts = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

_COLUMN_SHARE: Final = 8
"""A list of at least 1/8 of the rows gets columns, which take at most three times its own room."""
_COLUMN_ROWS: Final = 64
_LEVELS: Final = 255
_CHUNK: Final = 1 << 20
"""Postings whose impacts are computed at a time, to bound the memory it takes."""


class PostingList(NamedTuple):
    """Where one term occurs, as views."""

    rows: Int32s
    """Shape `(m,)`, ascending, `m` at least 1."""
    frequencies: Frequencies
    """Shape `(m,)`."""
    impacts: Impacts
    """Shape `(m,)`."""
    frequency_column: Frequencies | None
    """Shape `(n,)`: the frequency in every row."""
    impact_column: Impacts | None
    """Shape `(n,)`: the impact in every row; there is one if there is a `frequency_column`."""

    def frequencies_at(self, rows: Int32s) -> Frequencies:
        """Return the frequency in each of `rows`, 0 where the term does not occur."""
        if self.frequency_column is not None:
            return self.frequency_column.take(rows)
        places, is_there = find(self.rows, rows)
        frequencies: Frequencies = self.frequencies.take(places) * is_there
        return frequencies

    def impacts_at(self, rows: Int32s) -> Impacts:
        """Return the impact in each of `rows`, 0 where the term does not occur."""
        if self.impact_column is not None:
            return self.impact_column.take(rows)
        places, is_there = find(self.rows, rows)
        impacts: Impacts = self.impacts.take(places) * is_there
        return impacts


@dataclass(frozen=True, slots=True, eq=False)
class Postings:
    """Immutable; the arrays may be mapped from a file."""

    sequence_offsets: Int64s
    """Shape `(n + 1,)`: row `i` is `sequence_terms[sequence_offsets[i]:sequence_offsets[i + 1]]`."""
    sequence_terms: Int32s
    """Shape `(t,)`: term ids in text order, repetitions kept."""
    lengths: Int32s
    """Shape `(n,)`: occurrences per row."""
    term_ids: Int32s
    """Shape `(u,)`, ascending; a term's place here is its *slot*."""
    offsets: Int64s
    """Shape `(u + 1,)`: the list of slot `s` is `rows[offsets[s]:offsets[s + 1]]`."""
    rows: Int32s
    """Shape `(p,)`, ascending within a list."""
    frequencies: Frequencies
    """Shape `(p,)`, at least 1."""
    impacts: Impacts
    """Shape `(p,)`: `frequency / (frequency + norm)` in 255ths, rounded up; the norms are `impact_norm`'s."""
    highest_impacts: Impacts
    """Shape `(u,)`: of each list."""
    impact_norm: Float64s
    """Shape `(4,)`: base and slope of the norms, lengths of the shortest and the longest row."""
    column_slots: Int32s
    """Shape `(c,)`, ascending: the terms with columns."""
    frequency_columns: Frequencies
    """Shape `(c, n)`."""
    impact_columns: Impacts
    """Shape `(c, n)`."""

    @classmethod
    def build(cls, sequence_offsets: Int64s, sequence_terms: Int32s, parameters: Bm25 | None = None) -> Self:
        """Index `n` rows. O(t log t); at its peak 20 bytes per occurrence beside the arguments.

        Args:
            sequence_offsets: `(n + 1,)`, ascending from 0 to `t`.
            sequence_terms: `(t,)`, ids from 0.
            parameters: Those that searches will most likely have: with others they take longer.
        """
        sequence_offsets = np.ascontiguousarray(sequence_offsets, np.int64)
        sequence_terms = np.ascontiguousarray(sequence_terms, np.int32)
        lengths = np.diff(sequence_offsets).astype(np.int32)
        term_ids, offsets, rows, frequencies = _invert(sequence_terms, lengths)
        impact_norm = _impact_norm(lengths, parameters or Bm25())
        impacts = _impacts(rows, frequencies, impact_norm[0] + impact_norm[1] * lengths)
        sizes = np.diff(offsets)
        has_column = (sizes * _COLUMN_SHARE >= len(lengths)) & (sizes >= _COLUMN_ROWS)
        column_slots = np.flatnonzero(has_column)
        frequency_columns = np.zeros((len(column_slots), len(lengths)), frequencies.dtype)
        impact_columns = np.zeros((len(column_slots), len(lengths)), np.uint8)
        for column, slot in enumerate(column_slots.tolist()):
            in_list = slice(offsets[slot], offsets[slot + 1])
            frequency_columns[column, rows[in_list]] = frequencies[in_list]
            impact_columns[column, rows[in_list]] = impacts[in_list]
        return cls(
            sequence_offsets=sequence_offsets,
            sequence_terms=sequence_terms,
            lengths=lengths,
            term_ids=term_ids,
            offsets=offsets,
            rows=rows,
            frequencies=frequencies,
            impacts=impacts,
            highest_impacts=np.maximum.reduceat(impacts, offsets[:-1]) if len(term_ids) else impacts,
            impact_norm=impact_norm,
            column_slots=column_slots.astype(np.int32),
            frequency_columns=frequency_columns,
            impact_columns=impact_columns,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, Array]:
        """Return every array by its name, as `from_arrays` takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """Return the postings that `arrays` was made from.

        Raises:
            KeyError: An array is missing.
        """
        # As plain arrays: slicing a `memmap` object costs ten times as much.
        plain: dict[str, Any] = {field.name: np.asarray(arrays[field.name]) for field in fields(cls)}
        return cls(**plain)

    def slots_of(self, term_ids: Int32s) -> tuple[Int64s, Bools]:
        """Return the slot of each id, and whether the segment has it (else the slot means nothing)."""
        return find(self.term_ids, term_ids)

    def lists(self, slots: Int64s) -> list[PostingList]:
        """Return the posting list of each slot."""
        columns, is_column = find(self.column_slots, slots.astype(np.int32))
        return [
            PostingList(
                self.rows[start:end],
                self.frequencies[start:end],
                self.impacts[start:end],
                self.frequency_columns[column] if has_column else None,
                self.impact_columns[column] if has_column else None,
            )
            for start, end, column, has_column in zip(
                self.offsets[slots].tolist(),
                self.offsets[slots + 1].tolist(),
                columns.tolist(),
                is_column.tolist(),
                strict=True,
            )
        ]

    def impact_scale(self, norm_base: float, norm_slope: float) -> float:
        """Return what to multiply impacts with for bounds under the norms `base + slope * length`.

        It holds the largest factor by which `frequency / (frequency + norm)` under these norms exceeds that
        under `impact_norm`: the factor is monotonous in the length, and furthest from 1 at frequency 1.
        """
        base, slope, shortest, longest = self.impact_norm.tolist()
        at_shortest = (1 + base + slope * shortest) / (1 + norm_base + norm_slope * shortest)
        at_longest = (1 + base + slope * longest) / (1 + norm_base + norm_slope * longest)
        return float(max(1.0, at_shortest, at_longest)) / _LEVELS


def ranges(starts: Int64s, lengths: npt.NDArray[np.integer]) -> Int64s:
    """Return `starts[0], starts[0] + 1, ...`, `lengths[0]` numbers, then those from `starts[1]` on."""
    ends = np.cumsum(lengths, dtype=np.int64)
    numbers = np.arange(ends[-1] if len(ends) else 0, dtype=np.int64)
    numbers += np.repeat(starts - ends + lengths, lengths)
    return numbers


def find(ascending: Int32s, wanted: Int32s) -> tuple[Int64s, Bools]:
    """Return where each of `wanted` stands among distinct numbers, and whether it does."""
    if not len(ascending):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    places = ascending.searchsorted(wanted)
    np.minimum(places, len(ascending) - 1, out=places)
    return places, ascending.take(places) == wanted


def _invert(sequence_terms: Int32s, lengths: Int32s) -> tuple[Int32s, Int64s, Int32s, Frequencies]:
    """Return term ids, offsets, rows and frequencies of the posting lists."""
    bits = max(len(lengths) - 1, 1).bit_length()
    # One sort of (term, row) pairs, each in one integer; every array goes as soon as it has served.
    pairs = sequence_terms.astype(np.int64)
    pairs <<= bits
    pairs |= np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    pairs.sort()
    is_first = np.empty(len(pairs), np.bool_)
    is_first[:1] = True
    np.not_equal(pairs[1:], pairs[:-1], out=is_first[1:])
    frequencies = _run_lengths(is_first)
    pairs = pairs[is_first]
    del is_first
    rows = (pairs & ((1 << bits) - 1)).astype(np.int32)
    pairs >>= bits
    terms = pairs.astype(np.int32)
    del pairs
    starts = np.flatnonzero(terms[1:] != terms[:-1]) + 1
    offsets = np.concatenate([[0], starts, [len(terms)]]) if len(terms) else np.zeros(1, np.int64)
    return terms[offsets[:-1]], offsets.astype(np.int64, copy=False), rows, frequencies


def _run_lengths(is_first: Bools) -> Frequencies:
    """Return how long each run is, of which the first elements are marked."""
    starts = np.flatnonzero(is_first)
    runs = np.empty(len(starts), np.int32)
    np.subtract(starts[1:], starts[:-1], out=runs[:-1], casting="same_kind")
    if len(runs):
        runs[-1] = len(is_first) - starts[-1]
    return runs.astype(np.min_scalar_type(runs.max(initial=0)))


def _impact_norm(lengths: Int32s, parameters: Bm25) -> Float64s:
    """Return `impact_norm` for rows of these lengths; empty ones hold no terms and do not matter."""
    base = parameters.k1 * (1 - parameters.b)
    occupied = lengths[lengths > 0]
    if not len(occupied):
        return np.array([base, 0, 1, 1], np.float64)
    slope = parameters.k1 * parameters.b / lengths.mean()
    return np.array([base, slope, occupied.min(), occupied.max()], np.float64)


def _impacts(rows: Int32s, frequencies: Frequencies, norms: Float64s) -> Impacts:
    """Return `impacts`; `norms` are those of all rows, `(n,)`."""
    impacts = np.empty(len(rows), np.uint8)
    for start in range(0, len(rows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        impacts[chunk] = np.ceil(_LEVELS * (frequencies[chunk] / (frequencies[chunk] + norms[rows[chunk]])))
    return impacts
