"""A ranking on its way through the stages after fusion: what is left of it, and what was lost where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rag_server.domain.candidates import Scores
from rag_server.domain.retrieval import Drop, LegSignal, ScoreScale
from rag_server.query.pooled import Indices


@dataclass(slots=True)
class Ranking:
    """Candidates by index, best first. Each stage takes it on; what leaves it is written down."""

    indices: Indices
    scores: Scores
    """Of `indices`, on `scale`."""
    scale: ScoreScale
    fused: Scores
    """Fused score of every candidate, by index."""
    fused_scale: ScoreScale
    reranked: dict[int, LegSignal] = field(default_factory=dict)
    drops: dict[int, Drop] = field(default_factory=dict)
    duplicates: dict[int, int] = field(default_factory=dict)
    """By index, the candidate that it is too similar to."""

    def fused_on(self, scale: ScoreScale) -> Scores | None:
        """Return the fused scores of what is left; None when fusion made another scale."""
        return self.fused[self.indices] if scale is self.fused_scale else None

    def keep(self, places: npt.NDArray[np.int64] | slice, why: Drop) -> None:
        """Keep what stands at `places` of the ranking, in that order; the rest was dropped for `why`."""
        kept = self.indices[places]
        if len(kept) < len(self.indices):
            self._drop(np.setdiff1d(self.indices, kept), why)
        self.scores = self.scores[places]
        self.indices = kept

    def _drop(self, indices: Iterable[int], why: Drop) -> None:
        self.drops |= {int(index): why for index in indices}
