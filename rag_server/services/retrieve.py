"""RetrieveService."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rag.v1 import retrieve_service_pb2 as pb
from rag.v1 import retrieve_service_pb2_grpc as pb_grpc
from rag_server.backends.protocols import Embedder
from rag_server.domain.priority import Priority
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database
from rag_server.query.pipeline import Retrieval
from rag_server.query.reranking import Reranking
from rag_server.services.response_cache import ResponseCache
from rag_server.services.wire.analysis import to_token
from rag_server.services.wire.chunk import to_timings
from rag_server.services.wire.options import from_rerank
from rag_server.services.wire.query import from_retrieve, to_retrieve_response
from rag_server.services.wire.rerank import to_rerank_response
from rag_server.text.analyzer import Analyzer
from rag_server.timing import Stopwatch


class RetrieveServicer(pb_grpc.RetrieveServiceServicer):
    """Finds passages and shows how texts are embedded and analysed."""

    def __init__(
        self,
        retrieval: Retrieval,
        reranking: Reranking,
        responses: ResponseCache,
        embedder: Embedder,
        database: Database,
        analyzer_for: Callable[[str], Analyzer],
    ) -> None:
        self._retrieval = retrieval
        self._reranking = reranking
        self._responses = responses
        self._embedder = embedder
        self._database = database
        self._analyzer_for = analyzer_for

    async def Retrieve(self, request: pb.RetrieveRequest, context: Any) -> pb.RetrieveResponse:
        """Find the passages that answer a query."""
        call = current_call.get()
        watch = Stopwatch()
        with watch.stage("cache"):
            response = self._responses.get(call.tenant_id, request)
        if response is not None:
            response.timings.CopyFrom(to_timings(watch.timings()))
            return response
        result = await self._retrieval.retrieve(call.tenant_id, from_retrieve(request), limit=call.limit)
        response = to_retrieve_response(result)
        self._responses.put(call.tenant_id, request, response, result.collection_uids)
        return response

    async def BatchRetrieve(self, request: pb.BatchRetrieveRequest, context: Any) -> pb.BatchRetrieveResponse:
        """Answer several requests at once."""
        watch = Stopwatch()
        call = current_call.get()
        with watch.stage("retrieve"):
            results = await self._retrieval.retrieve_batch(
                call.tenant_id,
                [from_retrieve(each) for each in request.requests],
                limit=call.limit,
            )
        return pb.BatchRetrieveResponse(
            responses=map(to_retrieve_response, results), timings=to_timings(watch.timings())
        )

    async def Rerank(self, request: pb.RerankRequest, context: Any) -> pb.RerankResponse:
        """Score passages that the caller has."""
        watch = Stopwatch()
        reranker = self._reranking.reranker_for(from_rerank(request.rerank))
        with watch.stage("rerank"):
            scores = await reranker.score(request.query, list(request.passages))
        best = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
        if request.HasField("top_k"):
            best = best[: request.top_k]
        ranking = [(index, float(scores[index])) for index in best]
        return to_rerank_response(ranking, reranker.scale, watch.timings())

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        """Return the vectors of texts."""
        watch = Stopwatch()
        texts = list(request.texts)
        with watch.stage("embed"):
            # Behind the questions of others: these texts may be many and long.
            vectors = await self._embedder.embed(texts, priority=Priority.BULK)
        with watch.stage("count"):
            counts = await asyncio.to_thread(lambda: [self._embedder.tokenizer.count(text) for text in texts])
        return pb.EmbedResponse(
            embeddings=[
                pb.Embedding(values=vector.tolist(), token_count=count)
                for vector, count in zip(vectors, counts, strict=True)
            ],
            model=self._embedder.model.id,
            timings=to_timings(watch.timings()),
        )

    async def Analyze(self, request: pb.AnalyzeRequest, context: Any) -> pb.AnalyzeResponse:
        """Show what the lexical analyser makes of a text."""
        watch = Stopwatch()
        language = request.language
        if request.WhichOneof("analyzer") == "collection_id":
            async with self._database.snapshot() as tx:
                collection = await tx.collections.get(current_call.get().tenant_id, request.collection_id)
            language = collection.language
        analyzer = self._analyzer_for(language)
        with watch.stage("analyze"):
            tokens = await asyncio.to_thread(analyzer.explain, request.text)
        return pb.AnalyzeResponse(
            language=analyzer.language,
            tokens=map(to_token, tokens),
            lexemes=[token.lexeme for token in tokens if token.lexeme is not None],
            timings=to_timings(watch.timings()),
        )
