"""The composition root: the only place where parts are chosen and wired together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from prometheus_client import CollectorRegistry

from rag.v1 import (
    admin_service_pb2_grpc,
    assistant_service_pb2_grpc,
    collection_service_pb2_grpc,
    conversation_service_pb2_grpc,
    document_service_pb2_grpc,
    generate_service_pb2_grpc,
    ingest_service_pb2_grpc,
    retrieve_service_pb2_grpc,
)
from rag_server.app_conversation import create_assistants, create_conversing
from rag_server.app_generation import GenerationParts, create_resumable_answers, open_generation
from rag_server.app_ingest import (
    check_embedder,
    crawl_check,
    create_consumer,
    create_dry_runner,
    create_webhook_relay,
    open_queue,
    open_stores,
)
from rag_server.app_ingest_service import create_ingest_servicer
from rag_server.app_retrieval import RetrievalParts, open_retrieval
from rag_server.backends.protocols import BlobStore, ChunkStore, Embedder, JobQueue
from rag_server.backends.recent_chunks import RecentChunkStore
from rag_server.background import Background
from rag_server.config import Settings
from rag_server.data_folder import locked
from rag_server.events import Follower, tell_others
from rag_server.health import CHUNKS, EMBEDDER, INGEST, METADATA, NEEDS, QUEUE, Health
from rag_server.ingest.crawl import CrawlSubmitter
from rag_server.ingest.dry_run import DryRunner
from rag_server.ingest.expire import Expirer
from rag_server.ingest.outbox import OutboxRelay
from rag_server.ingest.reconcile import Reconciler
from rag_server.ingest.submit import Submitter
from rag_server.ingest.sweep import Sweeper
from rag_server.ingest.watch import JobFeed
from rag_server.interceptors.order import StandardChain
from rag_server.metadata.database import Database
from rag_server.prometheus import serve_metrics
from rag_server.reflection import add_reflection
from rag_server.services.admin import AdminServicer
from rag_server.services.assistants import AssistantServicer
from rag_server.services.collections import CollectionServicer
from rag_server.services.conversations import ConversationServicer
from rag_server.services.documents import DocumentServicer
from rag_server.services.generate import GenerateServicer
from rag_server.services.idempotency import Idempotency
from rag_server.services.resumable_answers import ResumableAnswers
from rag_server.services.retrieve import RetrieveServicer
from rag_server.services.wire.webhook import event_body
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
    queue: JobQueue
    feed: JobFeed
    follower: Follower
    retrieval: RetrievalParts
    generation: GenerationParts


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
        registry = CollectorRegistry()
        parts = await _open_parts(settings, folder, registry, stack)
        is_distributed = bool(settings.queue.url.get_secret_value())
        sweeper = Sweeper(parts.database, parts.chunks, parts.blobs)
        relay = OutboxRelay(
            parts.database,
            parts.queue,
            poll_s=settings.queue.poll_s,
            stranded_after_s=settings.queue.stranded_after_s,
        )
        background = Background()
        checks = {
            METADATA: parts.database.check,
            CHUNKS: parts.chunks.check,
            EMBEDDER: lambda: check_embedder(parts.embedder),
            INGEST: background.check,
            **parts.generation.served.checks,
        }
        if is_distributed:  # no service needs it: without the broker jobs wait in the outbox
            checks[QUEUE] = parts.queue.check
        health = Health(
            checks,
            interval_s=settings.server.health_interval_s,
        )
        chain = StandardChain(settings.server, registry)
        server, port = create_server(settings.server, chain)
        stack.push_async_callback(background.stop)
        resumable = create_resumable_answers(settings, registry)
        _add_services(
            server,
            settings,
            parts,
            sweeper,
            create_dry_runner(settings, parts.embedder, stack),
            health,
            background,
            resumable,
        )
        serve_metrics(settings.metrics, registry, stack)

        if not is_distributed:
            await _take_up_unfinished(parts.database, is_shared=settings.database.is_shared)
        if not is_distributed or settings.queue.work_in_server:
            consumer, dead_letters = create_consumer(
                settings,
                parts.database,
                parts.blobs,
                parts.chunks,
                parts.embedder,
                parts.queue,
                sweeper.wake,
                registry,
                stack,
            )
            background.start("ingest", consumer.run)
            background.start("dead letters", dead_letters.run)
        background.start("outbox", relay.run)
        background.start("follower", parts.follower.run)
        background.start("resident", parts.retrieval.pool.run)
        background.start("sweeper", sweeper.run)
        expirer = Expirer(
            parts.database,
            settings.ingest.request_id_ttl_s,
            failed_ttl_s=settings.ingest.failed_job_ttl_s,
            upload_ttl_s=settings.ingest.upload_ttl_s,
        )
        background.start("expirer", expirer.run)
        background.start(
            "webhooks", create_webhook_relay(settings.webhooks, parts.database, event_body, registry).run
        )
        for name, watch in parts.generation.served.supervisors.items():
            background.start(name, watch)
        await parts.retrieval.preload()
        await health.check()
        background.start("health", health.run)
        await server.start()
        address = address_of(settings.server.host, port)
        log.info("serving", address=address, data_dir=str(folder), embedding_model=parts.embedder.model.id)
        try:
            yield RunningServer(address, health, parts)
        finally:
            log.info("stopping", grace_s=settings.server.shutdown_grace_s)
            await health.leave()
            parts.feed.close()
            resumable.stop()
            await drain(server, chain, settings.server.shutdown_grace_s)
            await resumable.close()
    log.info("stopped")


async def _open_parts(
    settings: Settings, folder: Path, registry: CollectorRegistry, stack: AsyncExitStack
) -> Parts:
    stores = await open_stores(settings, folder, stack, owns_folder=True)
    database, embedder = stores.database, stores.embedder
    chunks = RecentChunkStore(stores.chunks)
    queue, bus = await open_queue(settings, stack)
    feed = JobFeed()
    database.on_jobs_changed(feed.notify)
    retrieval = await open_retrieval(settings, folder / "resident", database, chunks, embedder, stack)
    tell_others(database, bus)
    follower = Follower(database, bus, feed, retrieval.directory, retrieval.pool)
    generation = await open_generation(settings, retrieval, chunks, registry, stack)
    return Parts(database, chunks, stores.blobs, embedder, queue, feed, follower, retrieval, generation)


def _add_services(
    server: grpc.aio.Server,
    settings: Settings,
    parts: Parts,
    sweeper: Sweeper,
    dry_runner: DryRunner,
    health: Health,
    background: Background,
    resumable: ResumableAnswers,
) -> None:
    database, model = parts.database, parts.embedder.model
    idempotency = Idempotency(database)
    analyzer_for = Analyzer.for_language
    retrieval, reranking = parts.retrieval.retrieval, parts.retrieval.reranking
    responses = parts.retrieval.responses
    submitter = Submitter(settings.ingest.max_waiting_jobs, settings.webhooks.secrets)
    crawls = CrawlSubmitter(submitter, crawl_check(settings))
    ingest = create_ingest_servicer(
        settings, database, parts.blobs, parts.feed, idempotency, submitter, crawls, dry_runner
    )
    memory = parts.retrieval.figures
    admin = AdminServicer(
        settings,
        database,
        model,
        parts.generation.served.models,
        parts.generation.served.engines,
        health,
        replace(memory, caches={**memory.caches, **parts.generation.caches}),
        Reconciler(database, parts.chunks, parts.blobs, submitter, sweeper),
        datetime.now(UTC),
    )
    collection_service_pb2_grpc.add_CollectionServiceServicer_to_server(
        CollectionServicer(database, idempotency, model, sweeper), server
    )
    ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
    document_service_pb2_grpc.add_DocumentServiceServicer_to_server(
        DocumentServicer(database, idempotency, parts.chunks, parts.blobs, submitter, sweeper), server
    )
    retrieve_service_pb2_grpc.add_RetrieveServiceServicer_to_server(
        RetrieveServicer(retrieval, reranking, responses, parts.embedder, database, analyzer_for), server
    )
    generate_service_pb2_grpc.add_GenerateServiceServicer_to_server(
        GenerateServicer(
            create_conversing(
                settings.conversations,
                database,
                parts.generation,
                parts.embedder.tokenizer.count,
                analyzer_for,
                create_assistants(
                    settings.assistants,
                    database,
                    parts.embedder,
                    analyzer_for,
                    parts.generation.served.models,
                ),
                background,
                parts.generation.screen,
            ),
            parts.generation.served.models,
            parts.generation.grounding,
            resumable,
        ),
        server,
    )
    conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(
        ConversationServicer(
            database, idempotency, max_conversations=settings.conversations.max_conversations
        ),
        server,
    )
    assistant_service_pb2_grpc.add_AssistantServiceServicer_to_server(
        AssistantServicer(settings.assistants, database, idempotency, parts.generation.served.models), server
    )
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(admin, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    add_reflection(server, [*NEEDS, HEALTH_SERVICE])


async def _take_up_unfinished(database: Database, *, is_shared: bool) -> None:
    """Have the jobs worked on that the last process left unfinished: the queue in memory knows none of them.

    Where the database is in a folder that this process has to itself nobody can hold a lease: conversations
    whose answers were left unfinished go on at once. Where others may work on it, leases end by themselves.
    """
    async with database.transaction() as tx:
        if not is_shared:
            await tx.leases.release_all()
            await tx.turns.release_all()
        count = await tx.outbox.add_unfinished()
        waiting = await tx.outbox.waiting(up_to=max(count, 1))
    if waiting:
        log.info("unfinished jobs taken up", count=count)
