"""Weighted reciprocal rank fusion: the sum over legs of weight / (k + rank).

Cormack, Clarke and Buettcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
Methods, SIGIR 2009.
"""

from __future__ import annotations

import numpy as np

from rag_server.domain.candidates import Candidates, LegColumns, Scores
from rag_server.domain.fusion import RrfFusion
from rag_server.domain.retrieval import ScoreScale
from rag_server.query.fuse.fused import Fused
from rag_server.query.fuse.scaling import weights_of


def fuse_rrf(candidates: Candidates, fusion: RrfFusion) -> Fused:
    """Return the fused scores. A leg that did not return a candidate adds nothing to it. O(m)."""
    scores = np.zeros(len(candidates))
    legs = (candidates.dense, fusion.dense_weight), (candidates.lexical, fusion.lexical_weight)
    for leg, weight in legs:
        if leg is not None:
            scores += weight * _reciprocal_ranks(leg, fusion.k)
    return Fused(scores, ScoreScale.RRF, *weights_of(candidates, fusion.dense_weight, fusion.lexical_weight))


def _reciprocal_ranks(leg: LegColumns, k: int) -> Scores:
    return np.where(leg.ranks > 0, 1.0 / (k + leg.ranks.astype(np.float64)), 0.0)
