"""What the two legs found, as columns: the form in which stages before the final cut work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
"""Shape `(m,)`: numbers of passages, meaningful to the engine's `Found` that returned them only."""

Scores = npt.NDArray[np.float64]
"""Shape `(m,)`."""

Ranks = npt.NDArray[np.int32]
"""Shape `(m,)`: 1-based; 0 where the leg did not return the passage."""


@dataclass(frozen=True, slots=True, eq=False)
class LegColumns:
    """One leg's view of all candidates."""

    scores: Scores
    """Cosine similarity (dense) or BM25 (lexical); of candidates that only the other leg returned too, where
    the engine can tell, else NaN. A passage that holds no term of the query has BM25 0."""
    ranks: Ranks


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The union of what the legs returned, `m` passages in no particular order, each once."""

    positions: Positions
    dense: LegColumns | None
    """None: the leg did not run."""
    lexical: LegColumns | None

    def __len__(self) -> int:
        return len(self.positions)
