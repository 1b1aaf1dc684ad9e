"""The role of a reranker: passages of one query, scored together with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_server.domain.retrieval import ScoreScale

RerankScores = npt.NDArray[np.float32]
"""Shape `(n,)`, float32, finite: higher is more relevant."""


class Reranker(Protocol):
    """Scores passages for a query. A deadline reaches it as cancellation, which stops the work."""

    @property
    def scale(self) -> ScoreScale:
        """What its scores mean; the same for every call."""
        ...

    async def score(self, query: str, passages: Sequence[str]) -> RerankScores:
        """Return a score per passage, in order; of passages that are equal, equal scores.

        Raises `Unavailable` when the model cannot run and `ResourceExhausted` when its queue is full.
        """
        ...

    def estimate_s(self, query: str, passages: Sequence[str]) -> float:
        """Return how many seconds `score` would take now, by the measured rate and what waits before it.

        Cheap enough for the event loop; tokenizes nothing.
        """
        ...

    async def close(self) -> None:
        """Free what it owns. Idempotent; `score` raises `Unavailable` afterwards."""
        ...
