"""Maximal marginal relevance: each next result is relevant and unlike those before it.

Carbonell and Goldstein: The use of MMR, diversity-based reranking for reordering documents and producing
summaries, SIGIR 1998.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings
from rag_server.domain.candidates import Scores


def select_mmr(
    scores: Scores, vectors: Embeddings, *, relevance_weight: float, count: int
) -> npt.NDArray[np.int64]:
    """Return the places of `count` candidates (all, if there are fewer) in the order of their choice.

    Each time the candidate with the greatest

        relevance_weight * relevance - (1 - relevance_weight) * similarity

    is chosen, the better ranked of equals. Relevance is the score stretched to 0..1 over the candidates given
    (1 for all, where all scores are equal), so that the weight means the same on every scale; similarity is
    the greatest cosine to a candidate chosen before, at least 0: opposite is no more different than
    unrelated. The first one chosen is therefore the best ranked. O(count * m * d).

    Args:
        scores: Shape `(m,)`, finite, best first, of any scale.
        vectors: Shape `(m, d)`, float32, of unit length.
        relevance_weight: 1 keeps the ranking, 0 looks at difference alone; 0 to 1.
        count: At least 1.
    """
    relevance = relevance_weight * _stretched(scores)
    similarity = np.zeros(len(scores))
    chosen = np.empty(min(count, len(scores)), np.int64)
    for place in range(len(chosen)):
        best = int(np.argmax(relevance - (1 - relevance_weight) * similarity))
        chosen[place] = best
        relevance[best] = -np.inf
        np.maximum(similarity, vectors @ vectors[best], out=similarity)
    return chosen


def _stretched(scores: Scores) -> Scores:
    if len(scores) == 0:
        return scores
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)
