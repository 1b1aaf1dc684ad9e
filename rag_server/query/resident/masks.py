"""Which rows of a segment a query may return: filter, phrases and exclusions, before any scoring.

Segments never change, so what a filter lets pass of one can be kept: the masks used last are, which makes
the filters that an application repeats (a tenant's category, a language) free.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Final

import numpy as np
from cachetools import LRUCache

from rag_server.domain.filter import Filter
from rag_server.domain.lexical import LexicalQuery, Phrase
from rag_server.query.resident.phrases import containing
from rag_server.query.resident.segment import Mask, Segment
from rag_server.query.resident.state import Part, State

Masks = list[tuple[Mask | None, int]]
"""By part of a state: the living rows that pass, and how many; None: all of the segment's rows."""

_ENTRY_BYTES: Final = 400
"""What an entry takes beside its mask."""
_NO_CONDITIONS: Final = LexicalQuery()


class MaskCache:
    """Masks of segments by filter, bounded in bytes. Thread-safe; never stale."""

    def __init__(self, limit_bytes: int) -> None:
        self._lock = threading.Lock()
        self._masks: LRUCache[tuple[str, bytes], Mask] = LRUCache(limit_bytes, getsizeof=_size)

    def masks_of(self, state: State, filter: Filter | None, lexical: LexicalQuery | None) -> Masks:
        """Return the rows of each part that the filter, the phrases and the exclusions let pass."""
        if filter is None and (lexical is None or not (lexical.phrases or lexical.excluded)):
            return [(part.alive, part.alive_count) for part in state.parts]
        # by its text: filters that differ in a value's type alone (1, 1.0, True) are equal in Python;
        # by the hash of that, since a filter can be longer than its mask
        key = hashlib.sha256(repr(filter).encode("utf-8", "surrogatepass")).digest()
        query = lexical or _NO_CONDITIONS
        phrases = [(_ids(state, phrase), True) for phrase in query.phrases]
        phrases += [(_ids(state, phrase), False) for phrase in query.excluded]
        return [self._mask_of(part, filter, key, phrases) for part in state.parts]

    def _mask_of(
        self, part: Part, filter: Filter | None, key: bytes, phrases: list[tuple[list[int | None], bool]]
    ) -> tuple[Mask | None, int]:
        conditions: list[Mask] = []
        if filter is not None:
            conditions.append(self._filtered(part.segment, filter, key))
        for ids, is_wanted in phrases:
            found = containing(part.segment.postings, ids)
            conditions.append(found if is_wanted else ~found)
        mask = part.alive
        for condition in conditions:
            mask = condition if mask is None else mask & condition
        return mask, part.alive_count if not conditions or mask is None else int(np.count_nonzero(mask))

    def _filtered(self, segment: Segment, filter: Filter, key: bytes) -> Mask:
        with self._lock:
            mask = self._masks.get((segment.id, key))
        if mask is None:
            mask = segment.matching(filter)
            with self._lock:
                if _size(mask) <= self._masks.maxsize:
                    self._masks[segment.id, key] = mask
        return mask


def _size(mask: Mask) -> int:
    return mask.nbytes + _ENTRY_BYTES


def _ids(state: State, phrase: Phrase) -> list[int | None]:
    return [state.vocabulary.lookup(term) for term in phrase]
