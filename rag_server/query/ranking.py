"""A ranking on its way through the stages after fusion: what is left of it, and what was lost where."""

from __future__ import annotations

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
    duplicates: dict[int, int] = field(default_factory=dict)
    """By index, the candidate that it is too similar to."""
    _losses: list[tuple[Indices, Indices, Drop]] = field(default_factory=list)
    """What a stage was given, what of it is left, and why the rest is not."""

    @property
    def drops(self) -> dict[int, Drop]:
        """By index, why a candidate is not in the ranking any more. Worked out when asked: few ask."""
        found: dict[int, Drop] = {}
        for given, kept, why in self._losses:
            found |= dict.fromkeys(np.setdiff1d(given, kept).tolist(), why)
        return found

    def fused_on(self, scale: ScoreScale) -> Scores | None:
        """Return the fused scores of what is left; None when fusion made another scale."""
        return self.fused[self.indices] if scale is self.fused_scale else None

    def keep(self, places: npt.NDArray[np.int64] | slice, why: Drop) -> None:
        """Keep what stands at `places` of the ranking, in that order; the rest was dropped for `why`."""
        kept = self.indices[places]
        if len(kept) < len(self.indices):
            self._losses.append((self.indices, kept, why))
        self.scores = self.scores[places]
        self.indices = kept

    def drop(self, indices: Indices, why: Drop) -> None:
        """Write down that a stage has left these out."""
        self._losses.append((indices, indices[:0], why))
