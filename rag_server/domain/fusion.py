"""How the candidates of the two legs become one ranking: one dataclass per method, with its parameters.

All weights are at least 0 and not both 0; a leg of weight 0 is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdaptiveFusion:
    """Convex combination whose weights follow, per query, how sure each leg is: `query/fuse/adaptive.py`.

    The two weights multiply those that the method finds.
    """

    dense_weight: float = 1.0
    lexical_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class RrfFusion:
    """Reciprocal rank fusion: score = sum over legs of weight / (k + rank).

    Source: Cormack, Clarke and Buettcher, SIGIR 2009.
    """

    k: int = 60
    dense_weight: float = 1.0
    lexical_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class MinMaxFusion:
    """Weighted mean of scores that were stretched to 0..1 per leg."""

    dense_weight: float = 1.0
    lexical_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ZScoreFusion:
    """Weighted mean of scores in standard deviations from their leg's mean."""

    dense_weight: float = 1.0
    lexical_weight: float = 1.0


Fusion = AdaptiveFusion | RrfFusion | MinMaxFusion | ZScoreFusion
