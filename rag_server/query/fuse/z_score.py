"""Convex combination of scores in standard deviations from their leg's mean over all candidates.

Unlike stretching, it hardly depends on the single best and worst score. Montague and Aslam: Relevance Score
Normalization for Metasearch, CIKM 2001.
"""

from __future__ import annotations

from rag_server.domain.candidates import Candidates
from rag_server.domain.fusion import ZScoreFusion
from rag_server.domain.retrieval import ScoreScale
from rag_server.query.fuse.fused import Fused
from rag_server.query.fuse.scaling import complete, standardized, weighted_sum, weights_of


def fuse_z_score(candidates: Candidates, fusion: ZScoreFusion) -> Fused:
    """Return the weighted means, around 0. O(m)."""
    weights = weights_of(candidates, fusion.dense_weight, fusion.lexical_weight)
    dense, lexical = (
        None if leg is None else standardized(complete(leg)) for leg in (candidates.dense, candidates.lexical)
    )
    return Fused(weighted_sum(dense, lexical, weights), ScoreScale.Z_SCORE, *weights)
