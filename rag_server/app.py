"""The composition root: the only place where parts are chosen and wired together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from prometheus_client import CollectorRegistry, start_http_server

from ingest_worker.consumer import Consumer
from ingest_worker.fetch import Fetcher
from ingest_worker.pipeline import IngestPipeline
from rag.v1 import (
    admin_service_pb2_grpc,
    collection_service_pb2_grpc,
    document_service_pb2_grpc,
    generate_service_pb2_grpc,
    ingest_service_pb2_grpc,
    retrieve_service_pb2_grpc,
)
from rag_server.app_retrieval import RetrievalParts, open_retrieval
from rag_server.backends.extractive.generator import ExtractiveGenerator
from rag_server.backends.in_process_queue import InProcessJobQueue
from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.backends.milvus.store import MilvusChunkStore
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.backends.protocols import BlobStore, ChunkStore, Embedder, JobQueue, JobRef
from rag_server.backends.recent_chunks import RecentChunkStore
from rag_server.background import Background
from rag_server.config import MetricsSettings, Settings
from rag_server.data_folder import locked
from rag_server.domain.job import Job
from rag_server.errors import FailedPrecondition, ResourceExhausted
from rag_server.generation.pipeline import Answering
from rag_server.health import CHUNKS, EMBEDDER, INGEST, METADATA, NEEDS, Health
from rag_server.ingest.expire import Expirer
from rag_server.ingest.submit import Submitter
from rag_server.ingest.sweep import Sweeper
from rag_server.ingest.watch import JobFeed
from rag_server.interceptors.order import StandardChain
from rag_server.metadata.database import Database
from rag_server.reflection import add_reflection
from rag_server.services.admin import AdminServicer
from rag_server.services.collections import CollectionServicer
from rag_server.services.documents import DocumentServicer
from rag_server.services.generate import GenerateServicer
from rag_server.services.idempotency import Idempotency
from rag_server.services.ingest import IngestServicer
from rag_server.services.retrieve import RetrieveServicer
from rag_server.text.analyzer import Analyzer
from rag_server.transport import address_of, create_server, drain

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """The adapters of one process, open and ready."""

    database: Database
    chunks: ChunkStore
    blobs: BlobStore
    embedder: Embedder
    feed: JobFeed
    retrieval: RetrievalParts


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers."""

    address: str
    """`host:port` that it listens on."""
    health: Health
    parts: Parts


@asynccontextmanager
async def running_server(settings: Settings) -> AsyncIterator[RunningServer]:
    """Run the embedded server for the length of the block, then stop it with grace.

    Raises `FailedPrecondition` and `Unavailable` when it cannot start, with what to do about it.
    """
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(locked(settings.storage.data_dir))
        parts = await _open_parts(settings, folder, stack)
        queue = InProcessJobQueue(settings.ingest.max_waiting_jobs)
        parts.database.on_jobs_changed(partial(_queue_new, queue))
        sweeper = Sweeper(parts.database, parts.chunks, parts.blobs)
        consumer = Consumer(
            queue,
            parts.database,
            _ingest_pipeline(settings, parts),
            sweeper.wake,
            concurrency=settings.ingest.concurrency,
            max_attempts=settings.ingest.max_attempts,
            max_starts=settings.ingest.max_starts,
            backoff_s=settings.ingest.retry_backoff_s,
        )
        background = Background()
        health = Health(
            {
                METADATA: parts.database.check,
                CHUNKS: parts.chunks.check,
                EMBEDDER: lambda: _check_embedder(parts.embedder),
                INGEST: background.check,
            },
            interval_s=settings.server.health_interval_s,
        )
        registry = CollectorRegistry()
        chain = StandardChain(settings.server, registry)
        server, port = create_server(settings.server, chain)
        _add_services(server, settings, parts, queue, sweeper, health)
        if settings.metrics.port:
            _serve_metrics(settings.metrics, registry, stack)

        await _publish_unfinished(parts.database, queue)
        stack.push_async_callback(background.stop)
        background.start("ingest", consumer.run())
        background.start("resident", parts.retrieval.pool.run())
        background.start("sweeper", sweeper.run())
        background.start("expirer", Expirer(parts.database, settings.ingest.request_id_ttl_s).run())
        await parts.retrieval.preload()
        await health.check()
        background.start("health", health.run())
        await server.start()
        address = address_of(settings.server.host, port)
        log.info("serving", address=address, data_dir=str(folder), embedding_model=parts.embedder.model.id)
        try:
            yield RunningServer(address, health, parts)
        finally:
            log.info("stopping", grace_s=settings.server.shutdown_grace_s)
            await health.leave()
            parts.feed.close()
            await drain(server, chain, settings.server.shutdown_grace_s)
    log.info("stopped")


async def _open_parts(settings: Settings, folder: Path, stack: AsyncExitStack) -> Parts:
    url = settings.database.url.get_secret_value() or f"sqlite+aiosqlite:///{folder / 'metadata.db'}"
    database = await Database.open(url)
    stack.push_async_callback(database.close)
    is_remote = bool(settings.milvus.uri)
    milvus = await MilvusChunkStore.open(
        settings.milvus.uri or str(folder / "chunks.db"),
        token=settings.milvus.token.get_secret_value(),
        dense_index="HNSW" if is_remote else "FLAT",
        timeout_s=settings.milvus.timeout_s,
    )
    chunks = RecentChunkStore(milvus)
    stack.push_async_callback(chunks.close)
    blobs = LocalBlobStore(folder / "blobs")
    await blobs.open()
    embedder = await OnnxEmbedder.create(
        settings.embedding.model,
        cache_dir=settings.embedding.cache_dir,
        threads=settings.embedding.threads or None,
        call_limit=settings.embedding.queue_calls,
    )
    stack.push_async_callback(embedder.close)
    feed = JobFeed()
    database.on_jobs_changed(feed.notify)
    retrieval = await open_retrieval(settings, folder / "resident", database, chunks, embedder, stack)
    return Parts(database, chunks, blobs, embedder, feed, retrieval)


def _ingest_pipeline(settings: Settings, parts: Parts) -> IngestPipeline:
    fetcher = Fetcher(
        limit_bytes=settings.storage.max_document_bytes,
        timeout_s=settings.fetch.timeout_s,
        user_agent=settings.fetch.user_agent,
        max_redirects=settings.fetch.max_redirects,
        allow_private_addresses=settings.fetch.allow_private_addresses,
    )
    return IngestPipeline(
        parts.database,
        parts.blobs,
        parts.chunks,
        parts.embedder,
        fetcher,
        Analyzer.for_language,
        max_document_bytes=settings.storage.max_document_bytes,
        batch_chunks=settings.ingest.embedding_batch_chunks,
    )


def _add_services(
    server: grpc.aio.Server,
    settings: Settings,
    parts: Parts,
    queue: JobQueue,
    sweeper: Sweeper,
    health: Health,
) -> None:
    database, model = parts.database, parts.embedder.model
    idempotency = Idempotency(database)
    analyzer_for = Analyzer.for_language
    retrieval, reranking = parts.retrieval.retrieval, parts.retrieval.reranking
    responses = parts.retrieval.responses
    generator = ExtractiveGenerator(
        parts.embedder, analyzer_for, max_sentences=settings.generation.max_quotes
    )
    ingest = IngestServicer(
        database,
        idempotency,
        Submitter(queue),
        parts.blobs,
        parts.feed,
        max_document_bytes=settings.storage.max_document_bytes,
    )
    admin = AdminServicer(
        settings, database, model, [generator.model], health, parts.retrieval.figures, datetime.now(UTC)
    )
    collection_service_pb2_grpc.add_CollectionServiceServicer_to_server(
        CollectionServicer(database, idempotency, model, sweeper), server
    )
    ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
    document_service_pb2_grpc.add_DocumentServiceServicer_to_server(
        DocumentServicer(database, idempotency, parts.chunks, sweeper), server
    )
    retrieve_service_pb2_grpc.add_RetrieveServiceServicer_to_server(
        RetrieveServicer(retrieval, reranking, responses, parts.embedder, database, analyzer_for), server
    )
    generate_service_pb2_grpc.add_GenerateServiceServicer_to_server(
        GenerateServicer(Answering(retrieval, generator)), server
    )
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(admin, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    add_reflection(server, [*NEEDS, HEALTH_SERVICE])


def _serve_metrics(settings: MetricsSettings, registry: CollectorRegistry, stack: AsyncExitStack) -> None:
    try:
        server, _ = start_http_server(settings.port, settings.host, registry)
    except OSError as error:
        raise FailedPrecondition(
            "ADDRESS_UNUSABLE",
            f"cannot serve metrics on {settings.host}:{settings.port}: RAG_METRICS__PORT chooses another",
        ) from error
    stack.callback(server.shutdown)


async def _check_embedder(embedder: Embedder) -> None:
    with suppress(ResourceExhausted):  # busy is not down
        await embedder.embed(["health"])


def _queue_new(queue: InProcessJobQueue, changed: Sequence[Job]) -> None:
    """Have jobs worked on that a transaction has just accepted."""
    for job in changed:
        if job.sequence == 1:
            queue.put(JobRef(job.tenant_id, job.id))


async def _publish_unfinished(database: Database, queue: JobQueue) -> None:
    """Take up the jobs that the last process left unfinished."""
    after = None
    while True:
        async with database.snapshot() as tx:
            jobs = await tx.jobs.unfinished(after=after)
        if not jobs:
            return
        for job in jobs:
            await queue.publish(JobRef(job.tenant_id, job.id))
        after = (jobs[-1].create_time, jobs[-1].id)
        log.info("unfinished jobs taken up", count=len(jobs))
