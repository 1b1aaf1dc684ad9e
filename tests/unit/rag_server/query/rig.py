"""The whole way of a query over real metadata, with chunks in memory and a stand-in embedder.

What can fail, or change meanwhile, can be told to do so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rag_server.backends.protocols import Embeddings
from rag_server.catalog import CollectionDirectory
from rag_server.domain.collection import Collection, NewCollection
from rag_server.domain.document import Chunk, NewDocument, Span, chunk_id
from rag_server.domain.priority import Priority
from rag_server.domain.publication import Publication
from rag_server.domain.retrieval import (
    CrossEncoder,
    RerankMethod,
    RetrievalRequest,
    RetrievalResult,
    ScoreScale,
)
from rag_server.domain.stored import ANY, Hit, Scope, StoredChunks
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import RagError
from rag_server.metadata.database import Database
from rag_server.query.engines import Engines
from rag_server.query.field_paths import RETRIEVE, FieldPaths
from rag_server.query.pipeline import Retrieval
from rag_server.query.prepare import Preparer
from rag_server.query.rerank.reranker import Reranker, RerankScores
from rag_server.query.reranking import Reranking
from rag_server.query.resident.last_used import LastUsed
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.pool import PoolLimits, ResidentPool
from rag_server.query.resident.source import CollectionSource
from rag_server.query.resident.upkeep import Upkeep
from rag_server.testing.fakes import HashEmbedder
from rag_server.testing.memory_chunk_store import MemoryChunkStore
from rag_server.text.analyzer import Analyzer

TENANT = "acme"
BOTH_ENGINES = pytest.mark.parametrize("engine", ["resident", "store"])
Happening = Callable[[], Awaitable[None]]


class Store(MemoryChunkStore):
    """Can be down; notes how often it was searched. `after_search` happens once, after a dense search."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: RagError | None = None
        self.scan_failure: RagError | None = None
        """Nothing can be brought into memory; searches work."""
        self.search_count = 0
        self.after_search: Happening | None = None

    async def search_dense(
        self,
        collection: Collection,
        vector: npt.NDArray[np.float32],
        *,
        limit: int,
        scope: Scope = ANY,
    ) -> list[Hit]:
        self._check_up()
        self.search_count += 1
        hits = await super().search_dense(collection, vector, limit=limit, scope=scope)
        happening, self.after_search = self.after_search, None
        if happening is not None:
            await happening()
        return hits

    async def search_lexical(
        self, collection: Collection, terms: Sequence[str], *, limit: int, scope: Scope = ANY
    ) -> list[Hit]:
        self._check_up()
        self.search_count += 1
        return await super().search_lexical(collection, terms, limit=limit, scope=scope)

    async def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        self._check_up()
        if self.scan_failure is not None:
            raise self.scan_failure
        async for batch in super().scan(collection):
            yield batch

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        self._check_up()
        return await super().read_chunks(collection, chunk_ids)

    def _check_up(self) -> None:
        if self.failure is not None:
            raise self.failure


class Embedder(HashEmbedder):
    """Can fail; notes the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: RagError | None = None
        self.batches: list[list[str]] = []

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        if priority is Priority.INTERACTIVE:
            self.batches.append(list(texts))
            if self.failure:
                raise self.failure
        return await super().embed(texts, priority=priority)


class LengthReranker:
    """Implements `Reranker`: the shortest passage is the best. `meanwhile` happens while it computes."""

    scale = ScoreScale.CROSS_ENCODER

    def __init__(self) -> None:
        self.failure: RagError | None = None
        self.meanwhile: Happening | None = None
        self.expected_s = 0.0
        self.calls: list[tuple[str, list[str]]] = []

    async def score(self, query: str, passages: Sequence[str]) -> RerankScores:
        self.calls.append((query, list(passages)))
        if self.failure is not None:
            raise self.failure
        if self.meanwhile is not None:
            await self.meanwhile()
        return np.array([-len(passage) for passage in passages], np.float32)

    def estimate_s(self, query: str, passages: Sequence[str]) -> float:
        return self.expected_s

    async def close(self) -> None:
        return


class Rig:
    """Everything that answers a query; `make`, `put` and `delete` write what it answers from."""

    def __init__(
        self, database: Database, pool: ResidentPool, store: Store, executor: ThreadPoolExecutor, engine: str
    ) -> None:
        self.database = database
        self.store = store
        self.pool = pool
        self.embedder = Embedder()
        self.reranker = LengthReranker()
        self.directory = CollectionDirectory(database)
        database.on_collections_changed(pool.announce)
        self._engine = engine
        self._engines = Engines(
            pool,
            store,
            self.directory,
            self.directory.head_revision,
            MaskCache(1 << 20),
            executor,
            overfetch=1.5,
        )
        self.retrieval = self.new_retrieval()

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, folder: Path, engine: str) -> AsyncIterator[Rig]:
        """Open a rig whose collections are in memory (`resident`), or never are (`store`)."""
        store = Store()
        limits = PoolLimits(1 << 30 if engine == "resident" else 0, ttl_s=3600)
        last_used = LastUsed(folder / "last_used.json")
        pool = ResidentPool(CollectionSource(database, store), None, last_used, limits, Upkeep(None))
        with ThreadPoolExecutor(2) as executor:
            yield cls(database, pool, store, executor, engine)
            await pool.close()

    def new_retrieval(self, *, patience_s: float = 10.0, has_reranker: bool = True) -> Retrieval:
        """Return the pipeline, with other parameters than usual."""
        rerankers: dict[type[RerankMethod], Reranker] = {CrossEncoder: self.reranker} if has_reranker else {}
        return Retrieval(
            Preparer(self.directory, self.embedder.model, Analyzer.for_language, patience_s=patience_s),
            self.embedder,
            self._engines,
            Reranking(rerankers),
            self.directory,
        )

    async def make(
        self, name: str, *, language: str = "en", tenant_id: str = TENANT, embedding_model: str = "hash-64"
    ) -> Collection:
        """Make a collection."""
        async with self.database.transaction() as tx:
            made = await tx.collections.create(
                tenant_id,
                NewCollection(name, language=language),
                embedding_model=embedding_model,
                dimension=self.embedder.model.dimension,
            )
        await self.store.ensure_collection(made)
        return made

    async def collection(self, name: str = "books", tenant_id: str = TENANT) -> Collection:
        """Return a collection as it is now, from the database."""
        async with self.database.snapshot() as tx:
            return await tx.collections.get(tenant_id, name)

    async def put(
        self,
        document_id: str,
        *texts: str,
        into: str = "books",
        metadata: dict[str, Any] | None = None,
        tenant_id: str = TENANT,
        is_stored: bool = True,
    ) -> list[str]:
        """Publish a revision of a document, one chunk per text; return the ids of the chunks.

        With `is_stored` false it is published although the store has nothing of it.
        """
        collection = await self.collection(into, tenant_id)
        new = NewDocument(into, document_id, metadata=metadata or {})
        async with self.database.transaction() as tx:
            job = await tx.jobs.create(tenant_id, collection.uid, new, chunking=collection.chunking)
        chunks = _chunks(collection, document_id, job.document_revision, texts)
        if is_stored:
            analyzer = Analyzer.for_language(collection.language)
            vectors = await self.embedder.embed(texts, priority=Priority.BULK)
            lexemes = [analyzer.analyze(text) for text in texts]
            await self.store.upsert(collection, chunks, vectors, lexemes, dict(metadata or {}))
        publication = Publication("", "text/plain", "a" * 64, 1, collection.language, len(texts), 1)
        async with self.database.transaction() as tx:
            await tx.documents.publish(tenant_id, job.id, publication)
            await tx.metadata_fields.learn(tenant_id, collection.uid, metadata or {})
        return [chunk.id for chunk in chunks]

    async def delete(self, document_id: str, *, of: str = "books") -> None:
        """Delete a document, and leave its rows in the store, as if they were not swept yet."""
        collection = await self.collection(of)
        async with self.database.transaction() as tx:
            await tx.documents.delete(TENANT, collection.uid, document_id)

    async def warm(self, *names: str, tenant_id: str = TENANT) -> None:
        """Bring collections into memory."""
        for name in names:
            collection = await self.collection(name, tenant_id)
            self.pool.get(collection)
            for entry in self.pool.entries(tenant_id):
                if entry.resident.collection.uid == collection.uid:
                    await asyncio.wait([entry.building])

    async def ask(
        self,
        query: str = "heron",
        *names: str,
        limit: TimeLimit | None = None,
        paths: FieldPaths = RETRIEVE,
        retrieval: Retrieval | None = None,
        tenant_id: str = TENANT,
        **fields: Any,
    ) -> RetrievalResult:
        """Answer a request with the engine of this rig; `fields` are those of `RetrievalRequest`."""
        await self._warm_where_wanted(names or ("books",), tenant_id)
        request = RetrievalRequest(names or ("books",), query, **fields)
        return await (retrieval or self.retrieval).retrieve(tenant_id, request, paths, limit=limit)

    async def ask_all(self, *requests: RetrievalRequest) -> list[RetrievalResult]:
        """Answer a batch."""
        await self._warm_where_wanted({name for each in requests for name in each.collection_ids}, TENANT)
        return await self.retrieval.retrieve_batch(TENANT, requests)

    async def _warm_where_wanted(self, names: Iterable[str], tenant_id: str) -> None:
        if self._engine == "resident":
            async with self.database.snapshot() as tx:
                page = await tx.collections.list(tenant_id, limit=100)
            known = {collection.id for collection in page}
            await self.warm(*known.intersection(names), tenant_id=tenant_id)


def _chunks(collection: Collection, document_id: str, revision: int, texts: Iterable[str]) -> list[Chunk]:
    return [
        Chunk(
            id=chunk_id(collection.tenant_id, collection.uid, document_id, revision, ordinal),
            tenant_id=collection.tenant_id,
            collection_id=collection.id,
            document_id=document_id,
            document_revision=revision,
            ordinal=ordinal,
            text=text,
            span=Span(0, len(text)),
            heading_path=(),
            token_count=len(text.split()),
            page_start=None,
            page_end=None,
            title="",
            source_uri="",
            media_type="text/plain",
        )
        for ordinal, text in enumerate(texts)
    ]


def documents(result: RetrievalResult) -> list[str]:
    """Return the documents of the results, best first."""
    return [each.chunk.document_id for each in result.results]


def chunk_ids(result: RetrievalResult) -> list[str]:
    """Return the chunks of the results, best first."""
    return [each.chunk.id for each in result.results]


def texts(result: RetrievalResult) -> list[str]:
    """Return the texts of the results, best first."""
    return [each.chunk.text for each in result.results]
