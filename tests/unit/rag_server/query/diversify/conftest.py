"""Rankings with vectors."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from rag_server.backends.protocols import Embeddings


def unit_vectors(seed: int, count: int, dimension: int, distinct: int) -> Embeddings:
    """Return unit vectors of which some are equal and some close: `distinct` directions, some shaken."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(distinct, dimension))
    vectors = directions[random.integers(0, distinct, count)]
    vectors += random.choice([0.0, 0.1, 1.0], (count, 1)) * random.normal(size=vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


vectors_of_any_kind = st.builds(
    unit_vectors,
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 12),
    dimension=st.integers(2, 8),
    distinct=st.integers(1, 6),
)
