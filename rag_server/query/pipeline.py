"""From a question to ranked passages: analyse, embed, two legs, fuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import structlog

from rag_server.backends.protocols import ChunkStore, Embedder
from rag_server.concurrency import run_all
from rag_server.domain.collection import Collection
from rag_server.domain.filter import Filter
from rag_server.domain.retrieval import Candidate, Degradation, Leg, RetrievalRequest, RetrievalResult
from rag_server.errors import FieldViolation, InvalidArgument, Unavailable
from rag_server.query.field_paths import RETRIEVE, FieldPaths, in_batch
from rag_server.query.filtering import check_filter
from rag_server.query.fuse.rrf import fuse_rrf
from rag_server.query.legs import Search, Visibility, search_legs
from rag_server.text.analyzer import Analyzer
from rag_server.timing import Stopwatch

log = structlog.get_logger()

Vector = npt.NDArray[np.float32]


class Catalog(Visibility, Protocol):
    """What retrieval asks of the metadata."""

    async def get_collections(self, tenant_id: str, collection_ids: Sequence[str]) -> list[Collection]:
        """Return the collections, in order. Raises `NotFound`."""
        ...


@dataclass(frozen=True, slots=True)
class _Query:
    """A request that was found to be answerable."""

    request: RetrievalRequest
    collections: Sequence[Collection]
    lexemes: Mapping[str, Sequence[str]]
    """By language of the collections; empty when the lexical leg is not wanted."""
    watch: Stopwatch

    @property
    def wants_dense(self) -> bool:
        return self.request.fusion.dense_weight > 0

    @property
    def has_lexemes(self) -> bool:
        return any(self.lexemes.values())


class Retrieval:
    """Answers retrieval requests."""

    def __init__(
        self,
        catalog: Catalog,
        store: ChunkStore,
        embedder: Embedder,
        analyzer_for: Callable[[str], Analyzer],
        *,
        overfetch: float,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._embedder = embedder
        self._analyzer_for = analyzer_for
        self._overfetch = overfetch

    async def retrieve(
        self, tenant_id: str, request: RetrievalRequest, paths: FieldPaths = RETRIEVE
    ) -> RetrievalResult:
        """Answer one request; `paths` is where its parts stand in the call, which errors name."""
        return (await self._retrieve(tenant_id, [(request, paths)]))[0]

    async def retrieve_batch(
        self, tenant_id: str, requests: Sequence[RetrievalRequest]
    ) -> list[RetrievalResult]:
        """Answer several requests, in order; their queries are embedded in one batch."""
        placed = [(request, in_batch(index)) for index, request in enumerate(requests)]
        return await self._retrieve(tenant_id, placed)

    async def _retrieve(
        self, tenant_id: str, placed: Sequence[tuple[RetrievalRequest, FieldPaths]]
    ) -> list[RetrievalResult]:
        queries = await run_all(self._prepare(tenant_id, request, paths) for request, paths in placed)
        vectors = await self._embed(queries)
        return await run_all(
            self._answer(query, vector) for query, vector in zip(queries, vectors, strict=True)
        )

    async def _prepare(self, tenant_id: str, request: RetrievalRequest, paths: FieldPaths) -> _Query:
        watch = Stopwatch()
        collections = await self._catalog.get_collections(tenant_id, request.collection_ids)
        for collection in collections:
            self._embedder.model.check_embeds(collection)
        if request.filter is not None:
            check_filter(request.filter, collections, path=paths.filter)
        lexemes: dict[str, Sequence[str]] = {}
        if request.fusion.lexical_weight > 0:
            with watch.stage("analyze"):
                for language in {collection.language for collection in collections}:
                    lexemes[language] = self._analyzer_for(language).analyze(request.query)
        query = _Query(request, collections, lexemes, watch)
        if not query.wants_dense and not query.has_lexemes:
            raise InvalidArgument(
                "QUERY_HAS_NO_TERMS",
                f"{paths.query}: only stop words or signs, and the vector leg is switched off",
                violations=[FieldViolation(paths.query, "has no term to search for")],
            )
        return query

    async def _embed(self, queries: Sequence[_Query]) -> list[Vector | None]:
        """Return a vector per query; None where the leg is not wanted or the embedder is down."""
        vectors: list[Vector | None] = [None] * len(queries)
        wanted = [index for index, query in enumerate(queries) if query.wants_dense]
        if not wanted:
            return vectors
        watch = Stopwatch()
        with watch.stage("embed"):
            try:
                embedded = await self._embedder.embed([queries[index].request.query for index in wanted])
            except Unavailable as error:
                if not all(query.has_lexemes for query in queries):
                    raise
                log.warning("embedder down: BM25 alone answers", reason=error.reason)
                return vectors
        for row, index in enumerate(wanted):
            vectors[index] = embedded[row]
            queries[index].watch.add(watch)
        return vectors

    async def _answer(self, query: _Query, vector: Vector | None) -> RetrievalResult:
        candidates = await self._search(query, vector)
        with query.watch.stage("fuse"):
            ranking = fuse_rrf(candidates, query.request.fusion, top_k=query.request.top_k)
        return RetrievalResult(
            ranking.results,
            ranking.score_scale,
            _degradations(query, vector),
            {collection.id: collection.revision for collection in query.collections},
            query.watch.timings(),
        )

    async def _search(self, query: _Query, vector: Vector | None) -> dict[Leg, list[Candidate]]:
        """Run the legs that the query has, side by side."""
        condition = query.request.filter
        searches: dict[Leg, Search] = {}
        if vector is not None:
            searches[Leg.DENSE] = partial(self._search_dense, vector=vector, filter=condition)
        if query.has_lexemes:
            searches[Leg.LEXICAL] = partial(self._search_lexical, lexemes=query.lexemes, filter=condition)

        return await search_legs(
            searches,
            query.collections,
            self._catalog,
            query.watch,
            count=max(query.request.candidate_count, query.request.top_k),
            overfetch=self._overfetch,
        )

    async def _search_dense(
        self, collection: Collection, limit: int, *, vector: Vector, filter: Filter | None
    ) -> list[Candidate]:
        return await self._store.search_dense(collection, vector, limit=limit, filter=filter)

    async def _search_lexical(
        self,
        collection: Collection,
        limit: int,
        *,
        lexemes: Mapping[str, Sequence[str]],
        filter: Filter | None,
    ) -> list[Candidate]:
        terms = lexemes[collection.language]
        return (
            await self._store.search_lexical(collection, terms, limit=limit, filter=filter) if terms else []
        )


def _degradations(query: _Query, vector: Vector | None) -> tuple[Degradation, ...]:
    if query.wants_dense and vector is None:
        return (Degradation.LEXICAL_ONLY,)
    if query.request.fusion.lexical_weight > 0 and not query.has_lexemes:
        return (Degradation.DENSE_ONLY,)
    return ()
