"""Exact top rows by BM25 without reading every posting list: MaxScore.

Turtle and Flood, "Query evaluation: strategies and optimizations", Information Processing & Management
31(6), 1995. Every posting has an impact, a byte that bounds what its term adds (`postings.py`), and every
term the highest of its impacts. Terms are taken by that, which for BM25 is nearly by rarity:

1. *Lists are added*, impact by impact, to an accumulator while a row that none of them held could still get
   among the best: while the highest impacts of the other terms together reach the *threshold*.
2. The threshold comes from exact scores of the leaders so far: the `count`-th best of all rows is no worse.
3. When it settles which rows are candidates, the remaining terms, which have the longest lists, are only
   *probed* for those, and each probe drops some.
4. When only terms with columns remain and it does not, all rows are *swept*: the columns are added too.

What is left is little more than the result, and gets exact scores: nothing is approximate. Everything runs
on arrays of rows; there is no loop over rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_server.query.resident.postings import Bools, Float64s, Int32s, Int64s, PostingList, Postings

Bounds = npt.NDArray[np.float32]

_SLACK: Final = 1e-5
"""Of the highest possible score: above the rounding errors of sums in float32."""
_ABOVE_ZERO: Final = float(np.finfo(np.float32).tiny)
_WORTH_A_LOOK: Final = 4_096
"""Rows that a list has before the threshold is looked for in the hope of not adding it."""
_FEW_SHARE: Final = 32
"""When a mask leaves less than 1/32 of the rows, those are probed instead of sweeping all."""
_LEADERS: Final = 2
"""Rows scored for a threshold, times `count`: bounds do not name the best exactly."""
_SAMPLE: Final = 16
"""One row in 16 tells well enough how high the leaders' bounds are."""
_NO_ROWS: Final = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class WeightedLists:
    """The `m` terms of a query that a segment holds; one adds `weight * tf / (tf + norm)` to a row."""

    postings: Postings
    slots: Int64s
    """Shape `(m,)`."""
    lists: list[PostingList]
    weights: Float64s
    """Shape `(m,)`, positive."""
    norm_base: float
    norm_slope: float
    """The norm of a row is `norm_base + norm_slope * length`, and above 0."""

    def score(self, rows: Int32s) -> Float64s:
        """Return the scores of `rows`, summed in the order of the terms: equal rows get equal scores."""
        norms = self.norm_base + self.norm_slope * self.postings.lengths.take(rows)
        scores = np.zeros(len(rows))
        for weight, postings in zip(self.weights.tolist(), self.lists, strict=True):
            frequencies = postings.frequencies_at(rows).astype(np.float64)
            scores += weight * frequencies / (frequencies + norms)
        return scores


def best_rows(query: WeightedLists, mask: Bools | None, count: int, floor: float) -> tuple[Int32s, Float64s]:
    """Return rows, in no order, and scores, among them those of the `count` best that score `floor` or more.

    With equal scores at the end all of them are returned.

    Args:
        query: Has at least one term.
        mask: `(n,)`, the rows that may be returned; None: all.
        count: At least 1.
        floor: 0 or more.
    """
    rows = _Search(query, mask, count, floor).run()
    return rows, query.score(rows)


class _Search:
    """One query on one segment: owned by one thread, for one call."""

    def __init__(self, query: WeightedLists, mask: Bools | None, count: int, floor: float) -> None:
        postings = query.postings
        weights = query.weights * postings.impact_scale(query.norm_base, query.norm_slope)
        highest = (weights * postings.highest_impacts[query.slots]).tolist()
        # Lists first, then columns, which hardly ever have the higher bounds.
        order = sorted(
            range(len(highest)),
            key=lambda term: (query.lists[term].impact_column is not None, -highest[term]),
        )
        self._query = query
        self._lists = [query.lists[term] for term in order]
        self._weights = weights[order].astype(np.float32)
        self._remaining = [*accumulate((highest[term] for term in reversed(order)), initial=0.0)][::-1]
        """`[i]`: what the terms from `i` on add at most to one row; one element more than there are terms."""
        self._mask = mask
        self._count = count
        self._slack = _SLACK * self._remaining[0]
        self._threshold = floor - self._slack
        """No row below it is among the best."""
        self._bounds = np.zeros(len(postings), np.float32)
        """What the terms so far add at most to each row."""
        self._added: list[Int32s] = []
        """The rows of each list added."""

    def run(self) -> Int32s:
        """Return the superset of the best rows."""
        added = self._add_lists()
        if added == len(self._lists) or self._threshold > self._remaining[added]:
            rows = self._candidates(added)
        elif self._mask is not None and np.count_nonzero(self._mask) * _FEW_SHARE < len(self._mask):
            rows = np.flatnonzero(self._mask).astype(np.int32)
        else:
            rows = self._sweep(added)
            added = len(self._lists)
        return self._select(*self._probe(rows, added))

    def _add_lists(self) -> int:
        """Add lists until the candidates are settled, or all; return how many."""
        for index, postings in enumerate(self._lists):
            if self._threshold > self._remaining[index]:
                return index
            if postings.impact_column is not None or len(postings.rows) >= _WORTH_A_LOOK:
                self._raise_threshold(self._leaders())
                if postings.impact_column is not None or self._threshold > self._remaining[index]:
                    return index
            # Integers of the machine's size: `add.at` is several times faster with them.
            np.add.at(self._bounds, postings.rows.astype(np.intp), postings.impacts * self._weights[index])
            self._added.append(postings.rows)
        return len(self._lists)

    def _raise_threshold(self, leaders: Int32s) -> None:
        """Score distinct rows: the last of the best of them is no better than that of all rows."""
        if len(leaders) < self._count:
            return
        scores = self._query.score(leaders)
        place = len(scores) - self._count
        scores.partition(place)
        self._threshold = max(self._threshold, float(scores[place]) - self._slack)

    def _leaders(self) -> Int32s:
        """Return some of the rows with the highest bounds so far."""
        if sum(map(len, self._added)) < self._count:
            return _NO_ROWS
        rows = self._passing(np.concatenate(self._added))
        # Each row may stand there once for every list.
        wanted = _LEADERS * self._count * len(self._added)
        if len(rows) > wanted:
            rows = rows.take(self._bounds.take(rows).argpartition(-wanted)[-wanted:])
        return _distinct(rows)

    def _candidates(self, added: int) -> Int32s:
        """Return the rows of the lists added that can be among the best by the terms from `added` on."""
        if not self._added:
            return _NO_ROWS
        rows = np.concatenate(self._added)
        least = np.float32(self._threshold - self._remaining[added])
        return self._passing(_distinct(rows.compress(self._bounds.take(rows) >= least)))

    def _sweep(self, added: int) -> Int32s:
        """Return the candidates among all rows, with all terms added; those from `added` on have columns."""
        for postings, weight in zip(self._lists[added:], self._weights[added:], strict=True):
            assert postings.impact_column is not None
            self._bounds += postings.impact_column * weight
        if self._mask is not None:
            self._bounds *= self._mask
        sample = self._bounds[::_SAMPLE].copy()
        place = 1 + 2 * _LEADERS * self._count // _SAMPLE
        if place < len(sample):
            sample.partition(len(sample) - place)
            leaders = self._at_least(float(sample[-place]))
            self._raise_threshold(leaders[: 4 * _LEADERS * self._count])
        return self._at_least(self._threshold)

    def _at_least(self, least: float) -> Int32s:
        """Return the rows whose bound is above 0 and at least `least`."""
        is_candidate = self._bounds >= np.float32(max(least, _ABOVE_ZERO))
        return np.flatnonzero(is_candidate).astype(np.int32)

    def _probe(self, rows: Int32s, added: int) -> tuple[Int32s, Bounds]:
        """Return the candidates left by a look at each term from `added` on, and their bounds."""
        bounds = self._bounds.take(rows)
        for index in range(added, len(self._lists)):
            bounds += self._lists[index].impacts_at(rows) * self._weights[index]
            rows, bounds = _keep(rows, bounds, self._threshold - self._remaining[index + 1])
        return rows, bounds

    def _select(self, rows: Int32s, bounds: Bounds) -> Int32s:
        """Return the candidates that can be among the best; their bounds have all terms."""
        wanted = _LEADERS * self._count
        if len(rows) > wanted:
            self._raise_threshold(rows.take(bounds.argpartition(-wanted)[-wanted:]))
        return _keep(rows, bounds, max(self._threshold, _ABOVE_ZERO))[0]

    def _passing(self, rows: Int32s) -> Int32s:
        return rows if self._mask is None else rows.compress(self._mask.take(rows))


def _keep(rows: Int32s, bounds: Bounds, least: float) -> tuple[Int32s, Bounds]:
    is_kept = bounds >= np.float32(least)
    return rows.compress(is_kept), bounds.compress(is_kept)


def _distinct(rows: Int32s) -> Int32s:
    """Return each row once, ascending."""
    rows = np.sort(rows)
    is_first = np.ones(len(rows), np.bool_)
    np.not_equal(rows[1:], rows[:-1], out=is_first[1:])
    return rows.compress(is_first)
