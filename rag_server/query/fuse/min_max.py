"""Convex combination of scores that were stretched to 0..1 per leg.

Fox and Shaw: Combination of Multiple Searches, TREC-2, 1994 (CombSUM); Lee: Analyses of Multiple Evidence
Combination, SIGIR 1997 (the normalisation).
"""

from __future__ import annotations

from rag_server.domain.candidates import Candidates
from rag_server.domain.fusion import MinMaxFusion
from rag_server.domain.retrieval import ScoreScale
from rag_server.query.fuse.fused import Fused
from rag_server.query.fuse.scaling import complete, stretched, weighted_sum, weights_of


def fuse_min_max(candidates: Candidates, fusion: MinMaxFusion) -> Fused:
    """Return the weighted means, 0 (lowest in both legs) to 1 (highest in both). O(m)."""
    weights = weights_of(candidates, fusion.dense_weight, fusion.lexical_weight)
    dense, lexical = (
        None if leg is None else stretched(complete(leg)) for leg in (candidates.dense, candidates.lexical)
    )
    return Fused(weighted_sum(dense, lexical, weights), ScoreScale.MIN_MAX, *weights)
