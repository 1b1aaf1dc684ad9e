"""Legs' scores made comparable with one another. Every function takes and returns `(m,)` float64."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from rag_server.domain.candidates import Candidates, LegColumns, Scores

_EQUAL: Final = 1e-9
"""Scores this close together, relative to the largest, differ by rounding only: legs score in float32."""


def complete(leg: LegColumns) -> Scores:
    """Return a leg's scores with its lowest one where it could not score a candidate; 0 if it has none."""
    is_unknown = np.isnan(leg.scores)
    if not is_unknown.any():
        return leg.scores.astype(np.float64)
    lowest = 0.0 if is_unknown.all() else float(np.nanmin(leg.scores))
    return np.where(is_unknown, lowest, leg.scores)


def stretched(scores: Scores) -> Scores:
    """Return `scores` from 0 (the lowest) to 1 (the highest); 0 where all are equal."""
    if not len(scores):
        return np.zeros(0)
    lowest, highest = float(scores.min()), float(scores.max())
    if highest - lowest <= _EQUAL * max(abs(lowest), abs(highest)):
        return np.zeros(len(scores))
    return (scores - lowest) / (highest - lowest)


def standardized(scores: Scores) -> Scores:
    """Return `scores` in standard deviations from their mean; 0 where all are equal."""
    if not len(scores):
        return np.zeros(0)
    # first to 0..1: the squares of very small or very large scores would not be numbers any more
    unit = stretched(scores)
    unit -= float(unit.sum()) / len(unit)
    deviation = math.sqrt(float(unit @ unit) / len(unit))
    return unit / deviation if deviation else unit


def weights_of(candidates: Candidates, dense_weight: float, lexical_weight: float) -> tuple[float, float]:
    """Return the weights of the legs that ran, summing to 1; both 0 where none did."""
    return normalized(
        dense_weight if candidates.dense is not None else 0.0,
        lexical_weight if candidates.lexical is not None else 0.0,
    )


def normalized(dense: float, lexical: float) -> tuple[float, float]:
    """Return two weights, at least 0, in proportion and summing to 1; both 0 where both are."""
    largest = max(dense, lexical)
    if largest <= 0:
        return 0.0, 0.0
    # first by the largest: the sum of two subnormal weights loses what one of them has
    dense, lexical = dense / largest, lexical / largest
    return dense / (dense + lexical), lexical / (dense + lexical)


def weighted_sum(dense: Scores | None, lexical: Scores | None, weights: tuple[float, float]) -> Scores:
    """Return the sum of the legs' scores times their weights; a leg of None or weight 0 adds nothing."""
    parts = [leg * weight for leg, weight in zip((dense, lexical), weights, strict=True) if leg is not None]
    return np.asarray(sum(parts[1:], start=parts[0])) if parts else np.zeros(0)
