"""Weighted reciprocal rank fusion.

Cormack, Clarke and Buettcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
Methods, SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_server.domain.document import Chunk
from rag_server.domain.retrieval import Candidate, Leg, LegSignal, Ranking, RrfFusion, ScoredChunk, ScoreScale


def fuse_rrf(legs: Mapping[Leg, Sequence[Candidate]], fusion: RrfFusion, *, top_k: int) -> Ranking:
    """Return the `top_k` candidates by the sum over legs of weight / (k + rank), best first.

    Each leg's candidates come best first. Equal scores are ordered by the best rank in any leg, then by
    chunk id, so that equal input gives equal output. O(n log n) in the number of candidates.
    """
    weights = {Leg.DENSE: fusion.dense_weight, Leg.LEXICAL: fusion.lexical_weight}
    scores: dict[str, float] = {}
    signals: dict[str, dict[Leg, LegSignal]] = {}
    chunks: dict[str, Chunk] = {}
    for leg, candidates in legs.items():
        for rank, candidate in enumerate(candidates, start=1):
            key = candidate.chunk.id
            chunks.setdefault(key, candidate.chunk)
            signals.setdefault(key, {})[leg] = LegSignal(rank, candidate.score)
            scores[key] = scores.get(key, 0.0) + weights[leg] / (fusion.k + rank)

    def order(key: str) -> tuple[float, int, str]:
        return -scores[key], min(signal.rank for signal in signals[key].values()), key

    best = sorted(scores, key=order)[:top_k]
    results = tuple(ScoredChunk(chunks[key], scores[key], signals[key]) for key in best)
    return Ranking(results, ScoreScale.RRF)
