"""The dense leg: the rows of a collection's segments that are most similar to a query.

Four ways lead to the same rows with the same scores, and each segment is searched in the cheapest:

- small segments, and the few rows that pass a narrow filter, exactly (`exact.py`);
- larger ones by codes that nominate rows for exact scoring, whatever passes (`codes.py`, `shortlist.py`);
- the largest by a graph, as long as most rows pass (`graph.py`).

Positions number all rows: a segment's first one has its `base`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings
from rag_server.query.resident import exact, shortlist
from rag_server.query.resident.codes import Codes
from rag_server.query.resident.exact import Found, Query, RowMask, Similarities
from rag_server.query.resident.graph import LEAST_PASS_RATE, Graph, breadth

CODES_THRESHOLD_ROWS: Final = 8192
"""Rows from which on a segment is given codes. Exact search costs 0.95 times what codes do at 5 000 rows of
384 dimensions, 1.5 times at 10 000, 2.6 at 20 000, 4.3 at 50 000 and 5.8 at 100 000
(`benchmarks/dense_threshold.py`, two cores shared with other work)."""
GRAPH_THRESHOLD_ROWS: Final = 300_000
"""Rows from which on a segment is given a graph too. Codes cost 0.73 times what a graph does at 50 000 rows
and 1.08 times at 100 000 (same benchmark), growing with the rows. But they find all of the ten best, under
any filter, and are made in seconds; the graph finds 0.997 of them at 100 000 rows, and 0.976, with a search
breadth of 300, at 200 000 rows around harder texts, where codes find 1.000. So it is left until later."""

_WHOLE_ROW: Final = 0.1
_SCATTERED_ROW: Final = 0.45
_MASKED_ROW: Final = 0.0005
_NOMINATED_ROW: Final = 0.5
_CODE_BYTE: Final = 1.1e-4
_CODES_CALL: Final = 400.0
_VISITED_ROW: Final = 4.5
"""Microseconds: to score a row of 384 dimensions in passing, and on its own; to look at a row of a mask; to
nominate and score a row; to scan a byte of codes; to search by codes at all; to expand a row of a graph. Only
their ratios count. One core of 2.4 GHz; `benchmarks/dense_threshold.py` shows whether they hold elsewhere."""
_MEASURED_DIMENSION: Final = 384


class Method(StrEnum):
    """How a segment is searched."""

    EXACT = "exact"
    CODES = "codes"
    HNSW = "hnsw"


@dataclass(frozen=True, slots=True, eq=False)
class DenseSegment:
    """`n` rows as one search sees them."""

    base: int
    """Position of the first row; segments come in the order of their bases."""
    vectors: Embeddings
    """Shape `(n, d)`, float32, C-contiguous, unit rows."""
    graph: Graph | None
    mask: RowMask | None
    """The rows that pass; None: all."""
    pass_count: int
    """How many these are."""
    codes: Codes | None = None


def search(
    segments: Sequence[DenseSegment], queries: Embeddings, count: int
) -> list[tuple[npt.NDArray[np.int64], Similarities]]:
    """Return for each query, `(q, d)`, the positions and scores of the `count` best rows, best first.

    Fewer where fewer pass. Equal scores rank by position. Blocks, for a millisecond or so.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    by_segment = [
        (segment.base, _search_one(segment, queries, count, choose(segment, count))) for segment in segments
    ]
    return [
        _merge([(base, found[index]) for base, found in by_segment], count) for index in range(len(queries))
    ]


def scores_of(
    segments: Sequence[DenseSegment], positions: npt.NDArray[np.int64], query: Query
) -> Similarities:
    """Return the scores of `positions`, in order, whether or not they pass.

    Raises:
        IndexError: A position is in no segment.
    """
    query = np.ascontiguousarray(query, np.float32)
    scores = np.empty(len(positions), np.float32)
    for segment, places, rows in _located(segments, positions):
        scores[places] = exact.inner_products(segment.vectors, rows, query)
    return scores


def vectors_of(segments: Sequence[DenseSegment], positions: npt.NDArray[np.int64]) -> Embeddings:
    """Return the vectors at `positions`, in order, `(len(positions), d)`; `(0, 0)` without segments.

    Raises:
        IndexError: A position is in no segment.
    """
    dimension = segments[0].vectors.shape[1] if segments else 0
    vectors = np.empty((len(positions), dimension), np.float32)
    for segment, places, rows in _located(segments, positions):
        vectors[places] = segment.vectors[rows]
    return vectors


def method(segments: Sequence[DenseSegment], count: int = 50) -> Method:
    """Return how most of the rows are searched; `EXACT` where there are none."""
    rows: dict[Method, int] = {}
    for segment in segments:
        chosen = choose(segment, count)
        rows[chosen] = rows.get(chosen, 0) + segment.pass_count
    return max(rows, key=rows.__getitem__, default=Method.EXACT)


def choose(segment: DenseSegment, count: int) -> Method:
    """Return the cheapest way to search a segment for `count` rows, of those that it is prepared for."""
    total, passing = len(segment.vectors), segment.pass_count
    row = segment.vectors.shape[1] / _MEASURED_DIMENSION
    costs = {Method.EXACT: row * _WHOLE_ROW * total}
    if passing < exact.GATHER_SHARE * total:
        costs[Method.EXACT] = row * _SCATTERED_ROW * passing + _MASKED_ROW * total
    if segment.codes is not None and shortlist.is_worthwhile(count, passing):
        nominated = row * _NOMINATED_ROW * shortlist.nomination_count(count)
        costs[Method.CODES] = _CODES_CALL + nominated + _CODE_BYTE * segment.codes.code_bytes * total
    if segment.graph is not None and passing >= LEAST_PASS_RATE * total:
        costs[Method.HNSW] = row * _VISITED_ROW * breadth(total, count, passing)
    return min(costs, key=costs.__getitem__)


def _search_one(segment: DenseSegment, queries: Embeddings, count: int, chosen: Method) -> list[Found]:
    found: list[Found | None] = [None] * len(queries)
    if chosen is not Method.EXACT:
        # one by one: FAISS would give a batch to threads that wait for each other on busy cores
        found = [_approximate(segment, query, count, chosen) for query in queries]
    left = [index for index, each in enumerate(found) if each is None]
    if left:
        answers = exact.search(
            segment.vectors, queries[left], count, mask=segment.mask, pass_count=segment.pass_count
        )
        for index, answer in zip(left, answers, strict=True):
            found[index] = answer
    return [each for each in found if each is not None]


def _approximate(segment: DenseSegment, query: Query, count: int, chosen: Method) -> Found | None:
    """Search by the graph, where it is chosen and knows, else by codes; None: neither can tell."""
    found = None
    if chosen is Method.HNSW and segment.graph is not None:
        found = segment.graph.search(query, count, mask=segment.mask, pass_count=segment.pass_count)
    if found is None and segment.codes is not None:
        found = shortlist.search(
            segment.codes, segment.vectors, query, count, segment.mask, segment.pass_count
        )
    return found


def _merge(parts: Sequence[tuple[int, Found]], count: int) -> Found:
    """Return the `count` best of what the segments, by base, found."""
    if len(parts) == 1:
        base, (rows, scores) = parts[0]
        return rows + base, scores
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    positions = np.concatenate([rows + base for base, (rows, _) in parts])
    scores = np.concatenate([scores for _, (_, scores) in parts])
    order = np.lexsort((positions, -scores))[:count]
    return positions[order], scores[order]


def _located(
    segments: Sequence[DenseSegment], positions: npt.NDArray[np.int64]
) -> list[tuple[DenseSegment, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Return (segment, places in `positions`, rows in the segment) of those segments that hold any."""
    if not len(positions):
        return []
    if len(segments) == 1:
        (segment,) = segments
        rows = positions - segment.base
        if rows.min() < 0 or rows.max() >= len(segment.vectors):
            raise IndexError("a position in no segment")
        return [(segment, np.arange(len(rows)), rows)]
    owners = np.searchsorted([segment.base for segment in segments], positions, side="right") - 1
    if not segments or owners.min() < 0:
        raise IndexError("a position before the first segment")
    located = []
    for owner in np.unique(owners):
        places = np.flatnonzero(owners == owner)
        segment = segments[owner]
        rows = positions[places] - segment.base
        if rows.max() >= len(segment.vectors):
            raise IndexError("a position in no segment")
        located.append((segment, places, rows))
    return located
