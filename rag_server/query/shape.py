"""The shape of the results: threshold, near duplicates, diversity, groups, the cut, neighbours."""

from __future__ import annotations

import asyncio

import numpy as np

from rag_server.domain.candidates import Scores
from rag_server.domain.retrieval import Drop, Leg, ScoredChunk, ScoreScale
from rag_server.query.diversify.grouping import by_document
from rag_server.query.diversify.mmr import select_mmr
from rag_server.query.diversify.near_duplicates import without_near_duplicates
from rag_server.query.diversify.threshold import at_least
from rag_server.query.pooled import Pooled
from rag_server.query.prepare import Query
from rag_server.query.ranking import Ranking

_LEGS = {ScoreScale.COSINE: Leg.DENSE, ScoreScale.BM25: Leg.LEXICAL}


async def shape(query: Query, pooled: Pooled, ranking: Ranking) -> None:
    """Take `ranking` through what the request asks for, down to the results."""
    request = query.request
    if request.threshold is not None:
        scores = _on_scale(pooled, ranking, request.threshold.scale)
        if scores is not None:
            ranking.keep(at_least(scores, request.threshold.min_score), Drop.BELOW_THRESHOLD)
    if request.duplicate_similarity is not None:
        with query.watch.stage("diversify"):
            await _drop_near_duplicates(pooled, ranking, request.duplicate_similarity)
    if request.diversity is not None:
        with query.watch.stage("diversify"):
            # groups may take what is far below: there the whole ranking is put in order
            count = request.top_k if request.grouping is None else len(ranking.indices)
            await _diversify(pooled, ranking, request.diversity.relevance_weight, count)
    if request.grouping is not None:
        await _group(pooled, ranking, request.grouping.chunks_per_document, request.top_k)
    else:
        ranking.keep(slice(0, request.top_k), Drop.BELOW_TOP_K)


async def _drop_near_duplicates(pooled: Pooled, ranking: Ranking, min_similarity: float) -> None:
    vectors = await pooled.vectors(ranking.indices)
    found = await asyncio.to_thread(
        without_near_duplicates, vectors, min_similarity=min_similarity, count=max(1, len(vectors))
    )
    originals = ranking.indices[found.duplicate_of]
    ranking.duplicates = dict(zip(ranking.indices[found.dropped].tolist(), originals.tolist(), strict=True))
    ranking.keep(found.kept, Drop.NEAR_DUPLICATE)


async def _diversify(pooled: Pooled, ranking: Ranking, relevance_weight: float, count: int) -> None:
    vectors = await pooled.vectors(ranking.indices)
    order = await asyncio.to_thread(
        select_mmr, ranking.scores, vectors, relevance_weight=relevance_weight, count=max(1, count)
    )
    ranking.keep(order, Drop.BELOW_TOP_K)


async def _group(pooled: Pooled, ranking: Ranking, chunks_per_document: int, document_count: int) -> None:
    chunks = await pooled.chunks(ranking.indices)
    documents = np.array([f"{chunk.collection_id}\n{chunk.document_id}" for chunk in chunks], np.str_)
    grouped = by_document(documents, chunks_per_document=chunks_per_document, document_count=document_count)
    ranking.drop(ranking.indices[grouped.below], Drop.BELOW_TOP_K)
    ranking.drop(ranking.indices[grouped.grouped_out], Drop.GROUPED_OUT)
    ranking.indices, ranking.scores = ranking.indices[grouped.kept], ranking.scores[grouped.kept]


async def results_of(query: Query, pooled: Pooled, ranking: Ranking) -> tuple[ScoredChunk, ...]:
    """Return what is left of `ranking` as results, with their neighbours where these are asked for."""
    indices = ranking.indices
    chunks = await pooled.chunks(indices)
    count = query.request.context_chunks
    if count:
        with query.watch.stage("context"):
            around = await pooled.neighbours(indices, count)
    else:
        around = [([], [])] * len(chunks)
    return tuple(
        ScoredChunk(
            chunk,
            float(score),
            pooled.signals(int(index)),
            fused_score=float(ranking.fused[int(index)]),
            rerank=ranking.reranked.get(int(index)),
            context_before=tuple(before),
            context_after=tuple(after),
        )
        for index, score, chunk, (before, after) in zip(indices, ranking.scores, chunks, around, strict=True)
    )


def _on_scale(pooled: Pooled, ranking: Ranking, scale: ScoreScale) -> Scores | None:
    """Return the scores of the ranking on `scale`, NaN where a leg has none.

    None: what would have made them was skipped, which the response names.
    """
    leg = _LEGS.get(scale)
    if leg is None:
        return ranking.scores if scale is ranking.scale else ranking.fused_on(scale)
    columns = pooled.candidates.dense if leg is Leg.DENSE else pooled.candidates.lexical
    return None if columns is None else columns.scores[ranking.indices]
