"""Which rows of a segment hold a phrase: terms next to each other, in order.

The posting lists of the terms are intersected, and the sequences of what remains are searched for the
phrase. Where that is most of the segment (a phrase of frequent terms), all sequences are searched, which
reads memory in order and is then faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from rag_server.query.resident.postings import Bools, Int32s, Int64s, Postings, find, ranges

_SCAN_SHARE: Final = 4
"""From a quarter of all occurrences on, reading all of them in order is faster than picking those."""


def containing(postings: Postings, phrase_ids: Sequence[int | None]) -> Bools:
    """Return which rows hold the phrase, `(n,)`.

    One id: the rows that hold the term. An id that is None or that the segment does not have: no row.

    Raises:
        ValueError: The phrase is empty.
    """
    if not phrase_ids:
        raise ValueError("a phrase has at least one term")
    is_match = np.zeros(len(postings), np.bool_)
    known = [each for each in phrase_ids if each is not None]
    phrase = np.array(known, np.int32)
    slots, is_there = postings.slots_of(np.unique(phrase))
    if len(known) < len(phrase_ids) or not is_there.all():
        return is_match
    starts, ends = postings.offsets[slots], postings.offsets[slots + 1]
    by_size = np.argsort(ends - starts, kind="stable").tolist()
    lists = [postings.rows[starts[index] : ends[index]] for index in by_size]
    rows = lists[0]
    for others in lists[1:]:
        rows = rows.compress(find(others, rows)[1])
    if len(phrase) == 1:
        is_match[rows] = True
    else:
        rarest = int(postings.term_ids[slots[by_size[0]]])
        is_match[_match(postings, phrase, known.index(rarest), rows)] = True
    return is_match


def _match(postings: Postings, phrase: Int32s, anchor: int, rows: Int32s) -> Int64s:
    """Return those of `rows` that hold the phrase; `anchor` is the place of its rarest term."""
    starts = _occurrences(postings, phrase[anchor], rows) - anchor
    starts = starts[(starts >= 0) & (starts + len(phrase) <= len(postings.sequence_terms))]
    for place, term in enumerate(phrase.tolist()):
        if place != anchor:
            starts = starts.compress(postings.sequence_terms.take(starts + place) == term)
    found = postings.sequence_offsets.searchsorted(starts, side="right") - 1
    # It must not begin in one row and end in the next.
    return found.compress(starts + len(phrase) <= postings.sequence_offsets[found + 1])


def _occurrences(postings: Postings, term: np.int32, rows: Int32s) -> Int64s:
    """Return where in the sequences a term stands, in any row or in `rows` only."""
    lengths = postings.lengths[rows]
    if int(lengths.sum(dtype=np.int64)) * _SCAN_SHARE >= len(postings.sequence_terms):
        return np.flatnonzero(postings.sequence_terms == term)
    places = ranges(postings.sequence_offsets[rows], lengths)
    return places.compress(postings.sequence_terms.take(places) == term)
