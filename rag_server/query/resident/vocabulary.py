"""The terms of a collection and their numbers.

A number is given once and never changes, so segments, statistics and snapshots of all revisions agree
on it. The vocabulary only grows: a term that no living passage holds any more keeps its number, and its
document frequency in the statistics is 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_SEPARATOR = " "
_BATCH = 1 << 21
"""Occurrences that are encoded at a time: bounds the memory that `add_all` needs besides its result."""


class Vocabulary:
    """Term -> id, append-only. One writer; `lookup` may be called by any thread at any time.

    A reader can meet an id that is newer than the state it searches; no segment of that state has the
    term, and its statistics count 0 for it.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._bytes_of_terms = 0

    @classmethod
    def of(cls, terms: Sequence[str]) -> Self:
        """Return the vocabulary that `terms()` was taken from.

        Raises:
            ValueError: A term stands there twice.
        """
        vocabulary = cls()
        vocabulary._ids = dict(zip(terms, range(len(terms)), strict=True))
        vocabulary._bytes_of_terms = sum(map(sys.getsizeof, terms))
        if len(vocabulary) < len(terms):
            raise ValueError("a term has two ids")
        return vocabulary

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def nbytes(self) -> int:
        """Bytes in memory, but for the ids (small integers share theirs)."""
        return sys.getsizeof(self._ids) + self._bytes_of_terms

    def lookup(self, term: str) -> int | None:
        """Return the id of `term`; None: no passage ever held it."""
        return self._ids.get(term)

    def terms(self) -> list[str]:
        """Return all terms in the order of their ids."""
        return list(self._ids)

    def add_all(
        self, sequences: Sequence[Sequence[str]]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Number the terms of `n` passages, `t` in all, and learn the new ones in order of appearance.

        Returns:
            Offsets, `(n + 1,)`, and ids, `(t,)`: passage `i` is `ids[offsets[i]:offsets[i + 1]]`.

        Raises:
            ValueError: A term holds a space; nothing is learnt from the batch of passages around it.
        """
        offsets = np.zeros(len(sequences) + 1, np.int64)
        np.cumsum([len(terms) for terms in sequences], out=offsets[1:])
        ids = np.empty(int(offsets[-1]), np.int32)
        start = 0
        while start < len(sequences):
            limit = int(np.searchsorted(offsets, offsets[start] + _BATCH, side="right")) - 1
            end = min(max(limit, start + 1), len(sequences))
            first, last = int(offsets[start]), int(offsets[end])
            ids[first:last] = self._add(sequences[start:end], last - first)
            start = end
        return offsets, ids

    def _add(self, sequences: Sequence[Sequence[str]], count: int) -> npt.NDArray[np.int32]:
        """Number `count` occurrences.

        They are hashed as slices of one text by Arrow; Python sees each distinct term once. With a
        dictionary look-up per occurrence it takes twice as long.
        """
        text = "".join(_SEPARATOR.join(terms) + _SEPARATOR for terms in sequences if terms).encode()
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(_SEPARATOR)) + 1
        if len(ends) != count:
            raise ValueError("a term holds a space")
        bounds = np.zeros(count + 1, np.int64)
        bounds[1:] = ends
        # Each slice ends with its separator, so that the slices touch, as Arrow wants them.
        slices = pa.LargeStringArray.from_buffers(count, pa.py_buffer(bounds), pa.py_buffer(text))
        encoded = slices.dictionary_encode()
        places: npt.NDArray[np.int32] = encoded.indices.to_numpy()
        return self._number(encoded.dictionary.to_pylist())[places]

    def _number(self, slices: Sequence[str]) -> npt.NDArray[np.int32]:
        """Return the ids of distinct terms, a separator behind each."""
        ids = self._ids
        numbers = np.empty(len(slices), np.int32)
        for index, piece in enumerate(slices):
            term = piece[:-1]
            number = ids.get(term)
            if number is None:
                number = ids[term] = len(ids)
                self._bytes_of_terms += sys.getsizeof(term)
            numbers[index] = number
        return numbers
