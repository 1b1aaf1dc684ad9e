"""Adaptive fusion, the default: a convex combination whose weights are found anew for each query.

A leg's scores are put in standard deviations from their mean over all candidates of both legs (`z`). Were
the relevant passages and the others normally distributed with equal spread, the best combination would
weight each leg by the distance of its two means (Fisher, 1936). One step of estimating that distance, with
each candidate counted as relevant as far as it stands above the average of both legs together, is

    lift(leg) = sum over candidates of  max(z_dense + z_lexical, 0) * z_leg

A leg whose scores are noise has nothing that stands out where the other's best candidates are, so it gets
the smaller weight; one that is sure, or agrees with the other, the larger; one that is flat, none. Two
things change the weights:

- BM25 counts by the square root of the share of the query that its best candidate covers: half a match,
  of a query in another language or in other words, stands out from its neighbours as well as a whole one.
- The vectors count down to a third by the share of the query that their model cannot read: codes, and,
  in a collection in a language that it was not trained for, what the passages cover. What they do not
  cover is probably in another language, and may be in the model's.

A z below 0 counts less: that the other leg's candidates are none of this leg's says little against
them. Measurements, and what was tried beside this: docs/decisions/0010-adaptive-fusion.md. The frame is that
of Bruch, Gai and Ingber: An Analysis of Fusion Functions for Hybrid Retrieval, TOIS 2023.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from rag_server.domain.candidates import Candidates, Scores
from rag_server.domain.fusion import AdaptiveFusion
from rag_server.domain.retrieval import ScoreScale
from rag_server.query.fuse.context import FusionContext
from rag_server.query.fuse.fused import Fused
from rag_server.query.fuse.scaling import (
    complete,
    normalized,
    standardized,
    stretched,
    weighted_sum,
    weights_of,
)

UNREAD_TRUST: Final = 1 / 3
"""What the vector leg counts for, of 1, where its model can read nothing of the query."""
BELOW_MEAN: Final = 0.4
"""What a z below 0 counts for, of 1."""
_LEAST_QUALITY: Final = 1e-3
"""So that even the candidates of a hopeless query have an order."""


def fuse_adaptive(candidates: Candidates, fusion: AdaptiveFusion, context: FusionContext) -> Fused:
    """Return scores from 0 (the last candidate) up to how good the first one is. O(m).

    That is the weighted mean of its cosine and of the share of the query that it covers (its BM25 of a
    full match's); the others follow in proportion to their evidence. 1 is a passage that says just what the
    query says, and a threshold means the same for every query of a collection.
    """
    dense = None if candidates.dense is None else complete(candidates.dense)
    lexical = None if candidates.lexical is None else complete(candidates.lexical)
    weights = weights_of(candidates, fusion.dense_weight, fusion.lexical_weight)
    dense_z, lexical_z = (None if leg is None else standardized(leg) for leg in (dense, lexical))
    if lexical is not None and dense_z is not None and lexical_z is not None and len(candidates):
        weights = _weights(dense_z, lexical_z, _trust(lexical, context), weights)
    evidence = weighted_sum(
        None if dense_z is None else _evidence(dense_z),
        None if lexical_z is None else _evidence(lexical_z),
        weights,
    )
    return Fused(_scaled(evidence, dense, lexical, weights, context), ScoreScale.ADAPTIVE, *weights)


def _weights(
    dense: Scores, lexical: Scores, trust: tuple[float, float], asked: tuple[float, float]
) -> tuple[float, float]:
    """Return the legs' weights, summing to 1, from their standardised scores."""
    membership = np.maximum(dense + lexical, 0.0)
    lifts = max(float(membership @ dense), 0.0), max(float(membership @ lexical), 0.0)
    found = normalized(trust[0] * asked[0] * lifts[0], trust[1] * asked[1] * lifts[1])
    # all candidates alike, or only a leg lifts that is not asked
    return found if sum(found) > 0 else asked


def _trust(lexical: Scores, context: FusionContext) -> tuple[float, float]:
    """Return what each leg can count for in this query, 0 to 1."""
    coverage = float(_coverage(lexical.max(), context))
    unread = context.identifier_share
    if context.is_language_covered is False:
        unread = max(unread, coverage)
    return 1.0 - (1.0 - UNREAD_TRUST) * unread, math.sqrt(coverage)


def _coverage(score: float, context: FusionContext) -> float:
    """Return the share of the query that a passage with this BM25 covers; 1 where it is not known."""
    if not context.full_match_score:
        return 1.0
    return min(max(score / context.full_match_score, 0.0), 1.0)


def _evidence(z: Scores) -> Scores:
    return np.where(z > 0, z, BELOW_MEAN * z)


def _scaled(
    evidence: Scores,
    dense: Scores | None,
    lexical: Scores | None,
    weights: tuple[float, float],
    context: FusionContext,
) -> Scores:
    """Return the evidence stretched from 0 to the quality of the candidate that has most of it."""
    if not len(evidence):
        return evidence
    best = int(np.argmax(evidence))
    cosine = 0.0 if dense is None else min(max(float(dense[best]), 0.0), 1.0)
    covered = 0.0 if lexical is None else _coverage(float(lexical[best]), context)
    quality = max(weights[0] * cosine + weights[1] * covered, _LEAST_QUALITY)
    if evidence.max() == evidence.min():
        return np.full(len(evidence), quality)
    return quality * stretched(evidence)
