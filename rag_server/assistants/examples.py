"""Routing by example: the nearest of all example questions decides, if it is near enough.

A classifier by one nearest neighbour (Cover and Hart, "Nearest neighbor pattern classification", 1967) over
sentence embeddings; what is further than a threshold from all of them belongs to none. `docs/decisions/0029`
has the measurement behind the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""Shape `(n, d)`, rows of unit length."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The example that is most like a question."""

    owner: int
    """Whose it is: the index among the lists that were asked."""
    example: int
    """Its index in that list."""
    similarity: float
    """Cosine."""


def nearest(question: npt.NDArray[np.float32], examples: Sequence[Vectors]) -> Nearest | None:
    """Return the nearest of all examples, the first of several; None: there are none.

    Args:
        question: Shape `(d,)`, of unit length.
        examples: Per assistant, shape `(n, d)`.
    """
    best: Nearest | None = None
    for owner, vectors in enumerate(examples):
        if not len(vectors):
            continue
        similarities = vectors @ question
        index = int(np.argmax(similarities))
        similarity = float(similarities[index])
        if best is None or similarity > best.similarity:
            best = Nearest(owner, index, similarity)
    return best
