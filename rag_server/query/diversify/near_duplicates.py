"""Near duplicates: of passages that say the same, only the best ranked stays.

Similarity is the cosine of the vectors, as in the semantic deduplication of Abbas et al.: SemDeDup, 2023,
but over the head of one ranking and without clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings

Places = npt.NDArray[np.int64]
"""Places of candidates in the ranking that was given, from 0."""

ROUNDING = 1e-6
"""A unit vector's product with itself misses 1 by less, in float32: equal vectors pass a threshold of 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Deduplicated:
    """What was looked at: candidates behind the last one kept are in neither, unless too few were kept."""

    kept: Places
    """Ascending."""
    dropped: Places
    """Ascending."""
    duplicate_of: Places
    """For each one dropped, the best ranked of those kept that it is too similar to."""


def without_near_duplicates(vectors: Embeddings, *, min_similarity: float, count: int) -> Deduplicated:
    """Keep, from the best down, each candidate that is like none kept before, until `count` are kept.

    O(looked at * kept * d).

    Args:
        vectors: Shape `(m, d)`, float32, of unit length, in the order of the ranking.
        min_similarity: The cosine from which on two passages are near duplicates.
        count: How many to keep, at least 1.
    """
    limit = min(count, len(vectors))
    kept_vectors = np.empty((limit, vectors.shape[1]), vectors.dtype)
    kept: list[int] = []
    dropped: list[int] = []
    duplicate_of: list[int] = []
    for place, vector in enumerate(vectors):
        if len(kept) == limit:
            break
        is_similar = kept_vectors[: len(kept)] @ vector >= min_similarity - ROUNDING
        if is_similar.any():
            dropped.append(place)
            duplicate_of.append(kept[int(is_similar.argmax())])
        else:
            kept_vectors[len(kept)] = vector
            kept.append(place)
    return Deduplicated(*(np.array(places, np.int64) for places in (kept, dropped, duplicate_of)))
