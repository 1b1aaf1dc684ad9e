"""The composition root's part that server and worker share: the stores, the queue, and the work on jobs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from ingest_worker.consumer import Consumer
from ingest_worker.crawl import Crawler, CrawlLimits
from ingest_worker.dead_letters import DeadLetterRecorder
from ingest_worker.dry_run import IngestDryRunner
from ingest_worker.fetch import Fetcher
from ingest_worker.items.archive import ArchiveExpansion
from ingest_worker.items.hand_in import ItemDesk
from ingest_worker.items.site import SiteCrawl, spec_of
from ingest_worker.metrics import WorkerMetrics
from ingest_worker.parse.docling_parser import is_installed as docling_is_installed
from ingest_worker.parse.ocr.rapid import is_installed as ocr_is_installed
from ingest_worker.pipeline import IngestPipeline
from ingest_worker.runner import JobRunner
from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.pool import ParserPool
from ingest_worker.webhook_sender import WebhookSender
from rag_server.backends.fsspec_blobs import FsspecBlobStore
from rag_server.backends.in_process_events import InProcessEventBus
from rag_server.backends.in_process_queue import InProcessJobQueue
from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.backends.milvus.store import MilvusChunkStore
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.backends.protocols import BlobStore, ChunkStore, Embedder, EventBus, JobQueue
from rag_server.backends.s3_file_system import s3_file_system
from rag_server.config import DatabaseSettings, Settings, StorageSettings, WebhookSettings
from rag_server.domain.archive import ArchiveBudget
from rag_server.domain.crawl import CrawlRequest
from rag_server.domain.job import Job
from rag_server.domain.webhook import WebhookDelivery
from rag_server.errors import FailedPrecondition, ResourceExhausted
from rag_server.ingest.webhook_relay import WebhookRelay
from rag_server.metadata.database import Database
from rag_server.metadata.options import ConnectionOptions
from rag_server.text.analyzer import Analyzer

_WEBHOOK_MARGIN_S = 30.0
"""For what comes before and after an attempt, until another server may make it."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What keeps data, and the model, open and ready."""

    database: Database
    chunks: MilvusChunkStore
    blobs: BlobStore
    embedder: OnnxEmbedder


async def open_stores(
    settings: Settings, folder: Path, stack: AsyncExitStack, *, owns_folder: bool
) -> Stores:
    """Open the stores. `owns_folder`: nobody else uploads into it, so what is left of an upload goes."""
    database = await _open_database(settings.database, folder)
    stack.push_async_callback(database.close)
    is_remote = bool(settings.milvus.uri)
    chunks = await MilvusChunkStore.open(
        settings.milvus.uri or str(folder / "chunks.db"),
        token=settings.milvus.token.get_secret_value(),
        dense_index="HNSW" if is_remote else "FLAT",
        timeout_s=settings.milvus.timeout_s,
    )
    stack.push_async_callback(chunks.close)
    blobs = await _open_blobs(settings.storage, folder, stack, owns_folder=owns_folder)
    embedder = await OnnxEmbedder.create(
        settings.embedding.model,
        cache_dir=settings.embedding.cache_dir,
        threads=settings.embedding.threads or None,
        call_limit=settings.embedding.queue_calls,
    )
    stack.push_async_callback(embedder.close)
    return Stores(database, chunks, blobs, embedder)


async def _open_database(settings: DatabaseSettings, folder: Path) -> Database:
    url = settings.url.get_secret_value() or f"sqlite+aiosqlite:///{folder / 'metadata.db'}"
    options = ConnectionOptions(
        pool_size=settings.pool_size,
        pool_timeout_s=settings.pool_timeout_s,
        connect_timeout_s=settings.connect_timeout_s,
        statement_timeout_s=settings.statement_timeout_s,
        lock_timeout_s=settings.lock_timeout_s,
    )
    return await Database.open(url, options=options)


async def _open_blobs(
    settings: StorageSettings, folder: Path, stack: AsyncExitStack, *, owns_folder: bool
) -> BlobStore:
    if not settings.blob_url:
        local = LocalBlobStore(folder / "blobs")
        await local.open(clear_staging=owns_folder)
        return local
    s3 = s3_file_system(endpoint=settings.blob_endpoint, timeout_s=settings.blob_timeout_s)
    root = settings.blob_url.removeprefix("s3://")
    remote = FsspecBlobStore(s3, root, folder / "uploads", timeout_s=settings.blob_timeout_s)
    stack.push_async_callback(remote.close)
    await remote.open()
    return remote


async def open_queue(settings: Settings, stack: AsyncExitStack) -> tuple[JobQueue, EventBus]:
    """Return the job queue and the bus of events: of RabbitMQ where one is set, else in memory."""
    own = settings.queue
    if not own.url.get_secret_value():
        queue, bus = InProcessJobQueue(ready=own.ready_jobs), InProcessEventBus()
        stack.push_async_callback(queue.close)
        return queue, bus
    # imported here: an embedded server needs no broker's client
    from rag_server.backends.rabbitmq.connection import BrokerConnection
    from rag_server.backends.rabbitmq.event_bus import RabbitMQEventBus
    from rag_server.backends.rabbitmq.job_queue import RabbitMQJobQueue
    from rag_server.backends.rabbitmq.topology import Topology

    connection = BrokerConnection(
        own.url.get_secret_value(), f"rag-server {socket.gethostname()}:{os.getpid()}"
    )
    topology = Topology(own.prefix, own.delivery_limit)
    stack.push_async_callback(connection.close)
    jobs = await RabbitMQJobQueue.open(
        connection, topology, prefetch=settings.ingest.concurrency, ready=own.ready_jobs
    )
    stack.push_async_callback(jobs.close)
    events = await RabbitMQEventBus.open(connection, topology)
    stack.push_async_callback(events.close)
    await connection.open()
    return jobs, events


def create_consumer(
    settings: Settings,
    database: Database,
    blobs: BlobStore,
    chunks: ChunkStore,
    embedder: Embedder,
    queue: JobQueue,
    on_ended: Callable[[], None],
    registry: CollectorRegistry,
    stack: AsyncExitStack,
) -> tuple[Consumer, DeadLetterRecorder]:
    """Return what works on jobs, and what records those that were given up."""
    parser = ParserPool(_parser_limits(settings), processes=settings.parser.processes)
    stack.push_async_callback(parser.close)
    desk = ItemDesk(blobs, settings.storage.max_document_bytes)
    pipeline = IngestPipeline(
        database,
        blobs,
        chunks,
        embedder,
        _create_fetcher(settings),
        parser,
        Analyzer.for_language,
        max_document_bytes=settings.storage.max_document_bytes,
        batch_chunks=settings.ingest.embedding_batch_chunks,
        kept_revisions=settings.ingest.kept_revisions,
        archives=ArchiveExpansion(
            database,
            desk,
            ArchiveBudget(
                max_entries=settings.ingest.max_archive_entries, max_bytes=settings.ingest.max_archive_bytes
            ),
        ),
        reads_scans=settings.parser.ocr,
        docling=settings.parser.docling_media_types,
    )
    crawler = Crawler(
        user_agent=settings.fetch.user_agent,
        allow_private_addresses=settings.fetch.allow_private_addresses,
    )
    sites = SiteCrawl(database, desk, crawler, _crawl_limits(settings), settings.crawl.slice_s)
    consumer = Consumer(
        queue,
        database,
        JobRunner(pipeline, sites),
        on_ended,
        concurrency=settings.ingest.concurrency,
        max_attempts=settings.ingest.max_attempts,
        max_starts=settings.ingest.max_starts,
        backoff_s=settings.ingest.retry_backoff_s,
        lease_s=settings.ingest.lease_s,
        metrics=WorkerMetrics(registry),
    )
    return consumer, DeadLetterRecorder(queue, database, on_ended)


def create_dry_runner(settings: Settings, embedder: Embedder, stack: AsyncExitStack) -> IngestDryRunner:
    """Return what dry runs are made with: parser processes of its own, which start with the first one.

    So a server that leaves the work to workers has them, too, and jobs never wait for dry runs.
    """
    limit = settings.ingest.dry_runs
    parser = ParserPool(_parser_limits(settings), processes=limit)
    stack.push_async_callback(parser.close)
    return IngestDryRunner(
        _create_fetcher(settings),
        parser,
        embedder,
        limit=limit,
        max_document_bytes=settings.storage.max_document_bytes,
    )


def _create_fetcher(settings: Settings) -> Fetcher:
    return Fetcher(
        limit_bytes=settings.storage.max_document_bytes,
        timeout_s=settings.fetch.timeout_s,
        user_agent=settings.fetch.user_agent,
        max_redirects=settings.fetch.max_redirects,
        allow_private_addresses=settings.fetch.allow_private_addresses,
    )


def _parser_limits(settings: Settings) -> ParserLimits:
    """Return the limits of a parser process. Raises `FailedPrecondition` where an extra is missing."""
    limits = settings.parser
    if limits.ocr and not ocr_is_installed():
        raise FailedPrecondition(
            "EXTRA_NOT_INSTALLED",
            "RAG_PARSER__OCR asks for OCR, which needs rapidocr: install rag-server with the extra `ocr`, or "
            "turn the setting off",
            metadata={"settings": "RAG_PARSER__OCR", "extra": "ocr"},
        )
    if limits.docling and not docling_is_installed():
        raise FailedPrecondition(
            "EXTRA_NOT_INSTALLED",
            "RAG_PARSER__DOCLING asks for docling: install rag-server with the extra `docling`, or empty the "
            "setting",
            metadata={"settings": "RAG_PARSER__DOCLING", "extra": "docling"},
        )
    return ParserLimits(
        cpu_s=limits.cpu_s,
        wall_s=limits.wall_s,
        memory_bytes=limits.memory_bytes,
        output_bytes=limits.output_bytes,
        documents_per_process=limits.documents_per_process,
        ocr_s=limits.ocr_s if limits.ocr else 0.0,
        docling=limits.docling_media_types,
    )


def crawl_check(settings: Settings) -> Callable[[CrawlRequest], None]:
    """Return what raises `InvalidArgument`, naming the field, for what the crawler would not take."""
    limits = _crawl_limits(settings)

    def check(request: CrawlRequest) -> None:
        spec_of(request, limits)

    return check


def _crawl_limits(settings: Settings) -> CrawlLimits:
    own = settings.crawl
    return CrawlLimits(
        max_page_bytes=min(own.max_page_bytes, settings.storage.max_document_bytes),
        max_total_bytes=own.max_total_bytes,
        max_duration_s=own.max_duration_s,
        page_timeout_s=own.page_timeout_s,
        max_redirects=settings.fetch.max_redirects,
        concurrency=own.concurrency,
        concurrency_per_host=own.concurrency_per_host,
        requests_per_second=own.requests_per_second,
    )


def create_webhook_relay(
    settings: WebhookSettings,
    database: Database,
    encode: Callable[[WebhookDelivery, Job], bytes],
    registry: CollectorRegistry,
) -> WebhookRelay:
    """Return what tells the ends of jobs to callers' own servers."""
    sender = WebhookSender(
        {name: secret.get_secret_value() for name, secret in settings.secrets.items()},
        timeout_s=settings.timeout_s,
        user_agent=settings.user_agent,
        allow_private_addresses=settings.allow_private_addresses,
    )
    return WebhookRelay(
        database,
        sender,
        encode,
        poll_s=settings.poll_s,
        lease_s=settings.timeout_s + _WEBHOOK_MARGIN_S,
        max_attempts=settings.max_attempts,
        backoff_s=settings.backoff_s,
        concurrency=settings.concurrency,
        registry=registry,
    )


async def check_embedder(embedder: Embedder) -> None:
    """Raise `Unavailable` unless the model runs."""
    with suppress(ResourceExhausted):  # busy is not down
        await embedder.embed(["health"])
