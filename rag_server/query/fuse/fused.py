"""What every fusion method returns."""

from __future__ import annotations

from dataclasses import dataclass

from rag_server.domain.candidates import Scores
from rag_server.domain.retrieval import ScoreScale


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """One finite score per candidate, in the candidates' order."""

    scores: Scores
    scale: ScoreScale
    dense_weight: float
    """What the leg counted for in this query. Both sum to 1, or are 0 where no leg ran."""
    lexical_weight: float
