"""The composition root's part for retrieval: engines, caches and rerankers, wired together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rag_server.backends.embedding_cache import EmbeddingCache
from rag_server.backends.onnx.cross_encoder import OnnxCrossEncoder
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.backends.protocols import ChunkStore, Embedder
from rag_server.catalog import CollectionDirectory
from rag_server.config import Settings
from rag_server.domain.collection import Collection
from rag_server.domain.retrieval import CrossEncoder, LateInteraction, RerankMethod
from rag_server.errors import NotFound
from rag_server.metadata.database import Database
from rag_server.query.engines import Engines
from rag_server.query.pipeline import Retrieval
from rag_server.query.prepare import Preparer
from rag_server.query.rerank.late_interaction import LateInteractionReranker
from rag_server.query.rerank.reranker import Reranker
from rag_server.query.reranking import Reranking
from rag_server.query.resident.last_used import LastUsed
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.pool import PoolLimits, ResidentPool
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.source import CollectionSource
from rag_server.query.resident.upkeep import Upkeep
from rag_server.services.admin import MemoryFigures
from rag_server.services.response_cache import ResponseCache
from rag_server.text.analyzer import Analyzer

_LITE_CHUNKS: Final = 20_000
"""Milvus Lite takes seconds to prepare itself for more, and as long again for each search."""


@dataclass(frozen=True, slots=True)
class RetrievalParts:
    """What answers retrieval requests."""

    retrieval: Retrieval
    reranking: Reranking
    responses: ResponseCache
    pool: ResidentPool
    directory: CollectionDirectory
    figures: MemoryFigures
    embedder: Embedder
    """Remembers the vectors of queries."""
    preload: Callable[[], Awaitable[None]]
    """Brings the collections used last into memory."""


async def open_retrieval(
    settings: Settings,
    folder: Path,
    database: Database,
    chunks: ChunkStore,
    embedder: OnnxEmbedder,
    stack: AsyncExitStack,
) -> RetrievalParts:
    """Wire retrieval over open parts; `folder` is for snapshots."""
    own = settings.retrieval
    directory = CollectionDirectory(database)
    snapshots = SnapshotFolder(folder) if own.snapshots else None
    last_used = LastUsed(folder / "last_used.json")
    pool = ResidentPool(
        CollectionSource(database, chunks),
        snapshots,
        last_used,
        PoolLimits(own.resident_memory_bytes, own.resident_ttl_s),
        Upkeep(snapshots),
    )
    stack.push_async_callback(pool.close)
    database.on_collections_changed(pool.announce)
    executor = ThreadPoolExecutor(own.search_threads, thread_name_prefix="search")
    stack.callback(executor.shutdown)
    engines = Engines(
        pool,
        chunks,
        directory,
        directory.head_revision,
        MaskCache(own.filter_cache_bytes),
        executor,
        overfetch=own.overfetch,
        slow_store_chunks=None if settings.milvus.uri else _LITE_CHUNKS,
    )
    rerankers: dict[type[RerankMethod], Reranker] = {LateInteraction: LateInteractionReranker(embedder)}
    names = ["late_interaction"]
    if own.cross_encoder:
        cross_encoder = await OnnxCrossEncoder.create(
            own.cross_encoder,
            cache_dir=settings.embedding.cache_dir,
            threads=settings.embedding.threads or None,
        )
        stack.push_async_callback(cross_encoder.close)
        rerankers[CrossEncoder] = cross_encoder
        names.append(f"cross_encoder:{own.cross_encoder}")
    reranking = Reranking(rerankers)
    responses = ResponseCache(own.result_cache_bytes, directory)
    cached = EmbeddingCache(embedder, max_bytes=own.embedding_cache_bytes)
    retrieval = Retrieval(
        Preparer(directory, embedder.model, Analyzer.for_language),
        cached,
        engines,
        reranking,
        directory,
    )
    caches = {"embeddings": cached.figures, "results": responses.figures}

    async def preload() -> None:
        collections: list[Collection] = []
        for use in last_used.read()[: own.preload_collections]:
            try:
                collections += await directory.get_collections(use.tenant_id, [use.collection_id])
            except NotFound:
                last_used.forget(use.collection_uid)
        pool.preload(collections)

    figures = MemoryFigures(pool, directory.head_revision, caches, names)
    return RetrievalParts(retrieval, reranking, responses, pool, directory, figures, cached, preload)
