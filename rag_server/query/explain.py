"""Explains an answer: what each leg saw, what fusion made of it, and where a chunk was lost."""

from __future__ import annotations

import numpy as np

from rag_server.domain.candidates import LegColumns
from rag_server.domain.retrieval import (
    CollectionExplanation,
    Drop,
    Explanation,
    LegSignal,
    ScoredChunk,
    Trace,
)
from rag_server.query.fuse.fused import Fused
from rag_server.query.pooled import Pooled
from rag_server.query.prepare import Query
from rag_server.query.ranking import Ranking


async def explain(
    query: Query, pooled: Pooled, ranking: Ranking, fused: Fused, results: tuple[ScoredChunk, ...]
) -> Explanation:
    """Return the explanation of one answer. Costs more than the answer: it looks at every candidate."""
    collections = tuple(
        CollectionExplanation(
            collection.id,
            found.engine,
            query.lexical[collection.language].terms if query.wants_lexical else (),
            found.chunk_count,
            found.passing_count,
            found.dense_method,
        )
        for collection, found in zip(query.collections, pooled.founds, strict=True)
    )
    return Explanation(
        collections,
        _returned(pooled.candidates.dense),
        _returned(pooled.candidates.lexical),
        fused.dense_weight,
        fused.lexical_weight,
        await _traces(query, pooled, ranking, results),
    )


def _returned(columns: LegColumns | None) -> int:
    return 0 if columns is None else int(np.count_nonzero(columns.ranks))


async def _traces(
    query: Query, pooled: Pooled, ranking: Ranking, results: tuple[ScoredChunk, ...]
) -> tuple[Trace, ...]:
    wanted = query.request.traced_chunk_ids
    if not wanted:
        return ()
    chunks = await pooled.chunks(np.arange(len(pooled.candidates)))
    indices = {chunk.id: index for index, chunk in enumerate(chunks)}
    fused_ranks = np.empty(len(chunks), np.int64)
    fused_ranks[np.argsort(-ranking.fused, kind="stable")] = np.arange(1, len(chunks) + 1)
    returned = {scored.chunk.id for scored in results}
    traces = []
    for chunk_id in wanted:
        index = indices.get(chunk_id)
        if index is None:
            traces.append(await _trace_outsider(pooled, chunk_id))
            continue
        original = ranking.duplicates.get(index)
        traces.append(
            Trace(
                chunk_id,
                Drop.RETURNED if chunk_id in returned else ranking.drops[index],
                pooled.signals(index),
                fused_rank=int(fused_ranks[index]),
                fused_score=float(ranking.fused[index]),
                rerank=ranking.reranked.get(index),
                duplicate_of=chunks[original].id if original is not None else "",
            )
        )
    return tuple(traces)


async def _trace_outsider(pooled: Pooled, chunk_id: str) -> Trace:
    """Return what is known of a chunk that is no candidate."""
    for found in pooled.founds:
        (inspected,) = await found.inspect([chunk_id])
        if inspected is not None:
            signals = {leg: LegSignal(None, score) for leg, score in inspected.scores.items()}
            drop = Drop.NOT_A_CANDIDATE if inspected.is_passing else Drop.FILTERED
            return Trace(chunk_id, drop, signals)
    return Trace(chunk_id, Drop.ABSENT, {})
