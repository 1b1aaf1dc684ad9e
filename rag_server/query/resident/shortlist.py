"""Search in two stages: codes nominate rows, exact scores rank them, and the doubt that is left is computed.

How many nominations are enough depends on the vectors: of sentences a dozen for each result, of near
duplicates, whose codes are alike, thousands. So each answer is checked: the nominated rows show how far exact
scores stray from approximate ones, and with it how many of the rows that were *not* nominated can be expected
to belong among the best. Where that is too many, more are nominated.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from rag_server.backends.protocols import Embeddings
from rag_server.query.resident.codes import Codes
from rag_server.query.resident.exact import (
    Found,
    Query,
    RowMask,
    Similarities,
    best,
    inner_products,
)

_TOLERATED_SHARE: Final = 0.02
"""Of the results that may be missed, by expectation: those near the last place."""
_WIDENING: Final = 4
"""Times as many nominations in the next round; the square of it where this one was far from enough."""
_LARGEST_SHARE: Final = 0.25
"""Of the passing rows: to score more of them costs as much as to score all."""
_REACH: Final = 4.5
"""Standard deviations by which a row may be better than its code says; beyond are 4 in a million."""
_STEPS: Final = 12
"""Of the integral over what was not nominated."""
_CERTAIN: Final = 7.0
"""Standard deviations beyond which nothing is expected: of a billion rows, one in a thousand cases."""
_TINY: Final = 1e-9


def nomination_count(count: int) -> int:
    """Return how many rows are nominated at first for `count` results."""
    return 4 * count + 400


def is_worthwhile(count: int, pass_count: int) -> bool:
    """Return whether scoring the nominations saves enough over scoring every row that passes."""
    return nomination_count(count) <= _LARGEST_SHARE * pass_count


def search(
    codes: Codes, vectors: Embeddings, query: Query, count: int, mask: RowMask | None, pass_count: int
) -> Found | None:
    """Return the `count` best rows of the `pass_count` in `mask`, with exact scores.

    None: by their codes the rows cannot be told apart well enough; search them exactly.
    """
    nominations = nomination_count(count)
    while nominations <= _LARGEST_SHARE * pass_count:
        rows, approximate = codes.nominate(query, nominations, mask)
        exact = inner_products(vectors, rows, query)
        hidden = pass_count - len(rows)
        misses = expected_misses(approximate, exact, count, hidden)
        if misses <= _TOLERATED_SHARE * count:
            order = np.argsort(rows)
            return best(rows[order], exact[order], count)
        nominations *= _WIDENING if misses < count else _WIDENING**2
    return None


def expected_misses(approximate: Similarities, exact: Similarities, count: int, hidden: int) -> float:
    """Return how many of the `count` best rows are expected among the `hidden` ones, not nominated.

    `approximate` are the nominated rows' scores by code, best first, `exact` the true ones in the same order.
    True scores are taken as normal around a line over the approximate ones, fitted to what was nominated; the
    number of rows as growing exponentially as the approximate score falls, at the rate at which it grows
    between the better half of the nominations and all of them.
    """
    shown = len(approximate)
    if hidden <= 0 or shown <= count:
        return 0.0 if hidden <= 0 else math.inf
    x = approximate.astype(np.float64)
    y = exact.astype(np.float64)
    last = float(x[-1])
    half_fall = max(float(x[shown // 2]) - last, _TINY)
    threshold = float(np.partition(y, shown - count)[shown - count])
    x -= x.mean()
    offset = float(y.mean())
    y -= offset
    variance = float(x @ x)
    slope = min(max(float(x @ y) / variance, 0.0), 2.0) if variance > _TINY**2 else 0.0
    residual = y - slope * x
    deviation = math.sqrt(float(residual @ residual) / shown) + _TINY
    at_edge = offset + slope * float(x[-1])  # what a row at the edge of the nominations scores, on average
    step = _REACH * deviation / max(slope, 0.2) / _STEPS
    misses = 0.0
    below = 0.0
    for index in range(_STEPS):
        growth = min(math.log(2) * step * (index + 1) / half_fall, 50.0)
        total = min(shown * math.expm1(growth), float(hidden))
        gap = threshold - at_edge + slope * step * (index + 0.5)
        if gap > _CERTAIN * deviation:
            break  # and the steps that follow have wider gaps
        misses += (total - below) * 0.5 * math.erfc(gap / deviation / math.sqrt(2))
        below = total
    return misses
