"""A least score: what is below it is no result, even if nothing better is there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rag_server.domain.candidates import Scores


def at_least(scores: Scores, min_score: float) -> npt.NDArray[np.int64]:
    """Return the places of the candidates whose score is at least `min_score`, in their order. O(m).

    Args:
        scores: Shape `(m,)`, on the scale that `min_score` is on. NaN, the score of a candidate that a leg
            did not see, never passes: what is unknown is not known to be enough.
        min_score: Finite.

    Raises:
        ValueError: `min_score` is NaN, which would keep nothing and say nothing.
    """
    if np.isnan(min_score):
        raise ValueError("the least score is not a number")
    return np.flatnonzero(scores >= min_score)
