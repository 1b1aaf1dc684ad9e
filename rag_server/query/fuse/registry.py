"""Which function carries out which method of fusion, and how its scores become a ranking."""

from __future__ import annotations

from typing import Final, assert_never

import numpy as np
import numpy.typing as npt

from rag_server.domain.candidates import Candidates, LegColumns, Scores
from rag_server.domain.fusion import AdaptiveFusion, Fusion, MinMaxFusion, RrfFusion, ZScoreFusion
from rag_server.query.fuse.adaptive import fuse_adaptive
from rag_server.query.fuse.context import FusionContext
from rag_server.query.fuse.fused import Fused
from rag_server.query.fuse.min_max import fuse_min_max
from rag_server.query.fuse.rrf import fuse_rrf
from rag_server.query.fuse.z_score import fuse_z_score

_DIGITS: Final = 12
"""Scores that agree so far, relative to the largest, are equal: the rest is the order of a sum."""
_UNRANKED: Final = np.iinfo(np.int32).max


def fuse(candidates: Candidates, fusion: Fusion, context: FusionContext) -> Fused:
    """Return one score per candidate by the method that `fusion` names.

    A leg that did not run or has weight 0 has no say: the ranking is the other one's.
    """
    candidates = Candidates(
        candidates.positions,
        candidates.dense if fusion.dense_weight > 0 else None,
        candidates.lexical if fusion.lexical_weight > 0 else None,
    )
    match fusion:
        case AdaptiveFusion():
            return fuse_adaptive(candidates, fusion, context)
        case RrfFusion():
            return fuse_rrf(candidates, fusion)
        case MinMaxFusion():
            return fuse_min_max(candidates, fusion)
        case ZScoreFusion():
            return fuse_z_score(candidates, fusion)
        case _:
            assert_never(fusion)


def order(
    candidates: Candidates, scores: Scores, ties: npt.NDArray[np.generic] | None = None
) -> npt.NDArray[np.int64]:
    """Return the indices of all candidates, best first, shape `(m,)`.

    Equal scores are ordered by the best rank in any leg, then by `ties`, shape `(m,)`: something that
    every engine has the same of; None: by position.
    """
    largest = float(np.abs(scores).max(initial=0.0))
    rounded = np.round(scores / largest, _DIGITS) if largest > 0 else scores
    best = np.minimum(_ranks(candidates.dense, len(candidates)), _ranks(candidates.lexical, len(candidates)))
    return np.lexsort((candidates.positions if ties is None else ties, best, -rounded))


def _ranks(leg: LegColumns | None, count: int) -> npt.NDArray[np.int32]:
    if leg is None:
        return np.full(count, _UNRANKED, np.int32)
    return np.where(leg.ranks > 0, leg.ranks, _UNRANKED).astype(np.int32)
