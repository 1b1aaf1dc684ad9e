"""The rankings of several queries for one question become one.

SUM is reciprocal rank fusion over queries, as the legs of one query are fused by it (Cormack, Clarke and
Buettcher, SIGIR 2009; over generated queries: Rackauckas, "RAG-Fusion", 2024). BEST takes turns: the first
passage of each query, then the second of each, and so on; among those, what more queries find goes first.
Either way the scores are reciprocal ranks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rag_server.domain.candidates import Candidates, LegColumns, Scores
from rag_server.domain.expansion import Merging
from rag_server.domain.fusion import RrfFusion
from rag_server.domain.retrieval import Leg, ScoreScale
from rag_server.query.fuse.rrf import reciprocal_ranks
from rag_server.query.pooled import Indices, JoinedPool, Pooled
from rag_server.query.ranking import Ranking

K = RrfFusion().k

_NO_RANK = np.iinfo(np.int32).max


async def merge(
    pools: Sequence[Pooled], rankings: Sequence[Ranking], merging: Merging, count: int
) -> tuple[Pooled, Ranking]:
    """Return one pool and one ranking of it, best first, of the `count` best of each of the rankings.

    A passage that several queries found is one candidate: it has the best rank and the best score that any
    of them gave it, per leg and fused.
    """
    heads = [ranking.indices[:count] for ranking in rankings]
    ids = [chunk.id for pool, head in zip(pools, heads, strict=True) for chunk in await pool.chunks(head)]
    return await asyncio.to_thread(_merge, pools, rankings, heads, ids, merging)


def _merge(
    pools: Sequence[Pooled],
    rankings: Sequence[Ranking],
    heads: Sequence[Indices],
    ids: Sequence[str],
    merging: Merging,
) -> tuple[Pooled, Ranking]:
    _, first, groups = np.unique(np.array(ids, np.str_), return_index=True, return_inverse=True)
    size = len(first)
    reciprocals = np.zeros((len(heads), size))
    starts = np.cumsum([0, *(len(head) for head in heads)])
    for number, head in enumerate(heads):
        own = groups[starts[number] : starts[number + 1]]
        reciprocals[number, own] = reciprocal_ranks(np.arange(1, len(head) + 1), K)
    total, best = reciprocals.sum(axis=0), reciprocals.max(axis=0, initial=0.0)
    scores = total if merging is Merging.SUM else best
    # sums that differ by the order of their terms only are equal
    order = np.lexsort((first, -total.round(12), -best, -scores.round(12)))

    fused = np.full(size, -np.inf)
    own_fused = [ranking.fused[head] for ranking, head in zip(rankings, heads, strict=True)]
    np.maximum.at(fused, groups, np.concatenate(own_fused))
    owners = np.repeat(np.arange(len(heads)), [len(head) for head in heads])[first]
    candidates = Candidates(
        np.arange(size),
        _best_of(pools, heads, groups, size, Leg.DENSE),
        _best_of(pools, heads, groups, size, Leg.LEXICAL),
    )
    pool = JoinedPool(pools, owners, np.concatenate(heads)[first], candidates)
    return pool, Ranking(order, scores[order], ScoreScale.RRF, fused, rankings[0].fused_scale)


def _best_of(
    pools: Sequence[Pooled],
    heads: Sequence[Indices],
    groups: npt.NDArray[np.int64],
    size: int,
    leg: Leg,
) -> LegColumns | None:
    """Return the best of one leg's columns per passage; None: it ran for none of the queries."""
    columns = [pool.columns(leg) for pool in pools]
    if all(each is None for each in columns):
        return None
    scores: Scores = np.full(size, np.nan)
    ranks = np.full(size, _NO_RANK, np.int32)
    start = 0
    for own, head in zip(columns, heads, strict=True):
        group = groups[start : start + len(head)]
        start += len(head)
        if own is not None:
            np.fmax.at(scores, group, own.scores[head])
            np.minimum.at(ranks, group, np.where(own.ranks[head] > 0, own.ranks[head], _NO_RANK))
    return LegColumns(scores, np.where(ranks == _NO_RANK, 0, ranks).astype(np.int32))
