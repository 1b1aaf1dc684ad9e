"""Weighted reciprocal rank fusion: the sum over legs of weight / (k + rank).

Cormack, Clarke and Buettcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
Methods, SIGIR 2009.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rag_server.domain.candidates import Candidates, Ranks, Scores
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
            scores += weight * reciprocal_ranks(leg.ranks, fusion.k)
    return Fused(scores, ScoreScale.RRF, *weights_of(candidates, fusion.dense_weight, fusion.lexical_weight))


def reciprocal_ranks(ranks: Ranks | npt.NDArray[np.int64], k: int) -> Scores:
    """Return 1 / (k + rank) of each rank, 1-based, and 0 for rank 0, which stands for none."""
    return np.where(ranks > 0, 1.0 / (k + ranks.astype(np.float64)), 0.0)
