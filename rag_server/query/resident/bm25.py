"""BM25 over the segments of a collection: the best rows, and the scores of given ones.

    score(q, d) = sum over terms of  idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average length))
    idf         = ln(1 + (N - df + 0.5) / (df + 0.5))

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with the idf of
Lucene, which is also the one that Milvus uses. The original one, ln((N - df + 0.5) / (df + 0.5)), is
negative for a term in more than half of the rows, so that holding it would count against a row; small
collections have many of those. The 1 inside the logarithm keeps every term above 0 and hardly changes the
rare ones. `rank_bm25.BM25Okapi` has the original, and replaces negative ones by a quarter of the average
idf; everything else is equal: with this idf put in, it gives the same scores (the tests do that).

`N`, `df` and the average length are those of the living rows of all segments, at the revision searched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_server.domain.lexical import Bm25
from rag_server.query.resident.maxscore import WeightedLists, best_rows
from rag_server.query.resident.postings import Bools, Int32s, Postings, ranges
from rag_server.query.resident.statistics import TermStatistics

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

_FEW_ROWS: Final = 2_048
"""Up to so many rows a segment is scored whole: cheaper than to think about it."""
_TINY: Final = 1e-30
"""Instead of a norm of 0 (k1 is 0): too small to change a score, and 0 / 0 does not arise."""


@dataclass(frozen=True, slots=True, eq=False)
class LexicalSegment:
    """A segment as one search sees it."""

    base: int
    """Position of its row 0."""
    postings: Postings
    mask: Bools | None = None
    """Shape `(n,)`: rows that may be returned; None: all."""


def inverse_document_frequency(row_count: int, document_frequencies: npt.NDArray[np.integer]) -> Floats:
    """Return the idf of terms in so many of `row_count` rows; positive."""
    return np.log1p((row_count - document_frequencies + 0.5) / (document_frequencies + 0.5))


class Scorer:
    """One query over the segments of a collection; what search and scoring share is worked out once.

    A term that stands in `term_ids` twice counts twice; one that the statistics do not know counts nothing.
    """

    def __init__(
        self,
        segments: Sequence[LexicalSegment],
        statistics: TermStatistics,
        term_ids: Sequence[int],
        parameters: Bm25,
    ) -> None:
        self._segments = segments
        self._query = _Query.of(statistics, term_ids, parameters)
        self._lists: dict[int, WeightedLists] = {}

    def search(self, count: int) -> tuple[Positions, Floats]:
        """Return the `count` best positions and their scores, best first, equal ones by position.

        Exact. Rows without a term of the query are not returned.
        """
        if self._query is None or count < 1:
            return np.zeros(0, np.int64), np.zeros(0)
        positions: list[Positions] = []
        scores: list[Floats] = []
        floor = 0.0
        # The largest first: what it finds lets the others be cut short.
        for segment in sorted(self._segments, key=lambda each: len(each.postings), reverse=True):
            lists = self._lists_of(self._query, segment)
            if not len(lists.slots):
                continue
            if len(segment.postings) <= _FEW_ROWS:
                rows, found = _score_all(lists, segment.mask)
            else:
                rows, found = best_rows(lists, segment.mask, count, floor)
            is_kept = found >= floor
            positions.append(rows.compress(is_kept) + np.int64(segment.base))
            scores.append(found.compress(is_kept))
            if len(found) >= count:
                floor = max(floor, float(np.partition(found, -count)[-count]))
        if not positions:
            return np.zeros(0, np.int64), np.zeros(0)
        all_positions, all_scores = np.concatenate(positions), np.concatenate(scores)
        order = np.lexsort((all_positions, -all_scores))[:count]
        return all_positions[order], all_scores[order]

    def scores_of(self, positions: Positions) -> Floats:
        """Return the BM25 of each position, in any order, whatever the masks say; 0 where no term stands."""
        scores = np.zeros(len(positions))
        if self._query is None or not len(positions):
            return scores
        for segment in self._segments:
            rows = positions - segment.base
            places = np.flatnonzero((rows >= 0) & (rows < len(segment.postings)))
            if len(places):
                lists = self._lists_of(self._query, segment)
                scores[places] = lists.score(rows[places].astype(np.int32))
        return scores

    def _lists_of(self, query: _Query, segment: LexicalSegment) -> WeightedLists:
        known = self._lists.get(segment.base)
        if known is None:
            known = self._lists[segment.base] = query.on(segment.postings)
        return known


@dataclass(frozen=True, slots=True, eq=False)
class _Query:
    """Distinct terms that some living row has, and what the formula needs of statistics and parameters."""

    term_ids: Int32s
    """Shape `(m,)`, ascending."""
    weights: Floats
    """Shape `(m,)`: `idf * (k1 + 1) * repetitions`."""
    norm_base: float
    norm_slope: float

    @classmethod
    def of(cls, statistics: TermStatistics, term_ids: Sequence[int], parameters: Bm25) -> _Query | None:
        """Return None if no living row has any of the terms."""
        counted = sorted(Counter(term_ids).items())
        ids = np.array([term_id for term_id, _ in counted], np.int32)
        repetitions = np.array([repetition for _, repetition in counted], np.int64)
        frequencies = statistics.frequencies_of(ids)
        is_there = frequencies > 0
        if not is_there.any():
            return None
        ids, repetitions, frequencies = ids[is_there], repetitions[is_there], frequencies[is_there]
        idf = inverse_document_frequency(statistics.row_count, frequencies)
        return cls(
            term_ids=ids,
            weights=idf * (parameters.k1 + 1) * repetitions,
            norm_base=max(parameters.k1 * (1 - parameters.b), _TINY),
            norm_slope=parameters.k1 * parameters.b / statistics.average_length,
        )

    def on(self, postings: Postings) -> WeightedLists:
        """Return the lists of those terms that a segment has, with their weights."""
        slots, is_there = postings.slots_of(self.term_ids)
        slots, weights = slots.compress(is_there), self.weights.compress(is_there)
        return WeightedLists(postings, slots, postings.lists(slots), weights, self.norm_base, self.norm_slope)


def _score_all(lists: WeightedLists, mask: Bools | None) -> tuple[Int32s, Floats]:
    """Return the rows of a small segment that hold a term and may be returned, with their scores."""
    postings = lists.postings
    starts = postings.offsets.take(lists.slots)
    sizes = postings.offsets.take(lists.slots + 1) - starts
    places = ranges(starts, sizes)
    rows = postings.rows.take(places)
    frequencies = postings.frequencies.take(places).astype(np.float64)
    norms = lists.norm_base + lists.norm_slope * postings.lengths.take(rows)
    parts = np.repeat(lists.weights, sizes) * frequencies / (frequencies + norms)
    # It adds the parts of a row in the order of the terms, as `WeightedLists.score` does.
    scores: Floats = np.bincount(rows, parts, len(postings)).astype(np.float64, copy=False)
    if mask is not None:
        scores *= mask
    found = np.flatnonzero(scores).astype(np.int32)
    return found, scores.take(found)
