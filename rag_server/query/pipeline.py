"""From a question to ranked passages: prepare, embed, search, fuse, merge, rerank, shape, explain.

A question that was expanded is several queries, which are searched together; their rankings are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from rag_server.backends.protocols import Embedder
from rag_server.concurrency import run_all
from rag_server.domain.collection import Collection
from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.retrieval import Degradation, RetrievalRequest, RetrievalResult
from rag_server.domain.time_limit import TimeLimit
from rag_server.query.engines import Engines
from rag_server.query.explain import explain
from rag_server.query.field_paths import RETRIEVE, FieldPaths, in_batch
from rag_server.query.fusing import fused_ranking
from rag_server.query.merging import merge
from rag_server.query.pooled import Pooled
from rag_server.query.prepare import Preparer, Query
from rag_server.query.reranking import Reranking
from rag_server.query.retriever import Found, Probe
from rag_server.query.shape import results_of, shape
from rag_server.query.vectors import Vector, embed_queries
from rag_server.query.visible import Visibility, only_visible
from rag_server.timing import Stopwatch

ROUNDS: Final = 8
"""Times that a query is answered because a document of its results was deleted; then that is left out."""


class Retrieval:
    """Answers retrieval requests."""

    def __init__(
        self,
        preparer: Preparer,
        embedder: Embedder,
        engines: Engines,
        reranking: Reranking,
        visibility: Visibility,
    ) -> None:
        self._preparer = preparer
        self._embedder = embedder
        self._engines = engines
        self._reranking = reranking
        self._visibility = visibility

    async def retrieve(
        self,
        tenant_id: str,
        request: RetrievalRequest,
        paths: FieldPaths = RETRIEVE,
        *,
        limit: TimeLimit | None = None,
    ) -> RetrievalResult:
        """Answer one request.

        Args:
            tenant_id: Whose collections.
            request: What is asked.
            paths: Where its parts stand in the call, which errors name.
            limit: When the call must have ended.
        """
        return (await self._retrieve(tenant_id, [(request, paths)], limit))[0]

    async def retrieve_batch(
        self,
        tenant_id: str,
        requests: Sequence[RetrievalRequest],
        paths: Callable[[int], FieldPaths] = in_batch,
        *,
        limit: TimeLimit | None = None,
    ) -> list[RetrievalResult]:
        """Answer several requests, in order; queries are embedded, and scored, together.

        `paths` tells where the parts of each stand in the call, by its index.
        """
        placed = [(request, paths(index)) for index, request in enumerate(requests)]
        return await self._retrieve(tenant_id, placed, limit)

    async def _retrieve(
        self,
        tenant_id: str,
        placed: Sequence[tuple[RetrievalRequest, FieldPaths]],
        limit: TimeLimit | None,
    ) -> list[RetrievalResult]:
        for request, _ in placed:
            self._reranking.check(request.rerank)
        groups = []
        for request, paths in placed:
            query = await self._preparer.prepare(tenant_id, request, paths, limit)
            with query.watch.stage("analyze"):
                groups.append([query, *self._preparer.variants(query)])
        queries = [query for group in groups for query in group]
        vectors = await embed_queries(self._embedder, queries)
        pools = await self._search(queries, vectors)
        ends = list(accumulate(len(group) for group in groups))
        return await run_all(
            self._answer(group, vectors[end - len(group) : end], pools[end - len(group) : end])
            for group, end in zip(groups, ends, strict=True)
        )

    async def _answer(
        self, queries: Sequence[Query], vectors: Sequence[Vector | None], pools: Sequence[Pooled]
    ) -> RetrievalResult:
        """Rank what was found; answer anew when a document of the results was deleted meanwhile.

        The first query is the question.
        """
        for rounds_left in reversed(range(ROUNDS)):
            result = await self._rank(queries, vectors, pools)
            visible = await only_visible(self._visibility, queries[0], result)
            if visible is result or not rounds_left:
                break
            pools = await self._search(queries, vectors)
        return visible

    async def _rank(
        self, queries: Sequence[Query], vectors: Sequence[Vector | None], pools: Sequence[Pooled]
    ) -> RetrievalResult:
        query, pooled = queries[0], pools[0]
        request, watch = query.request, query.watch
        with watch.stage("fuse"):
            made = [
                fused_ranking(each, pool, self._embedder.model)
                for each, pool in zip(queries, pools, strict=True)
            ]
            ranking, fused = made[0]
            if request.expanded is not None and len(made) > 1:
                rankings = [each for each, _ in made]
                pooled, ranking = await merge(pools, rankings, request.expanded.merging, query.count)
        degradations = _degradations(query, vectors[0], pooled)
        if request.rerank is not None:
            with watch.stage("rerank"):
                is_done = await self._reranking.rerank(query, pooled, ranking)
            degradations += () if is_done else (Degradation.NO_RERANK,)
        await shape(query, pooled, ranking)
        results = await results_of(query, pooled, ranking)
        explanation = await explain(query, pooled, ranking, fused, results) if request.is_explained else None
        # all queries of a call see one state of a collection
        revisions = {
            collection.id: found.revision
            for collection, found in zip(query.collections, pools[0].founds, strict=True)
        }
        uids = {collection.id: collection.uid for collection in query.collections}
        return RetrievalResult(
            results, ranking.scale, degradations, revisions, watch.timings(), explanation, uids
        )

    async def _search(self, queries: Sequence[Query], vectors: Sequence[Vector | None]) -> list[Pooled]:
        """Search each collection once for all queries that ask it."""
        asked: dict[str, tuple[Collection, list[int]]] = {}
        for index, query in enumerate(queries):
            for collection in query.collections:
                asked.setdefault(collection.uid, (collection, []))[1].append(index)

        async def search(collection: Collection, indices: Sequence[int]) -> list[Found]:
            probes = [_probe(queries[index], collection, vectors[index]) for index in indices]
            return await self._engines.retriever_for(collection).search(probes)

        watch = Stopwatch()
        with watch.stage("search"):
            found = await run_all(search(collection, indices) for collection, indices in asked.values())
        by_query: dict[tuple[int, str], Found] = {
            (index, collection.uid): each
            for (collection, indices), founds in zip(asked.values(), found, strict=True)
            for index, each in zip(indices, founds, strict=True)
        }
        for query in queries:
            query.watch.add(watch)
        return [
            Pooled([by_query[index, collection.uid] for collection in query.collections], query.count)
            for index, query in enumerate(queries)
        ]


def _probe(query: Query, collection: Collection, vector: Vector | None) -> Probe:
    lexical = query.lexical[collection.language]
    if not query.wants_lexical:
        lexical = LexicalQuery(phrases=lexical.phrases, excluded=lexical.excluded)
    return Probe(vector, lexical, query.request.filter, query.count)


def _degradations(query: Query, vector: Vector | None, pooled: Pooled) -> tuple[Degradation, ...]:
    degradations = []
    if query.wants_dense and vector is None:
        degradations.append(Degradation.LEXICAL_ONLY)
    if query.wants_lexical and not query.has_lexemes:
        degradations.append(Degradation.DENSE_ONLY)
    if any(found.is_stale for found in pooled.founds):
        degradations.append(Degradation.RESIDENT_STALE)
    return tuple(degradations)
