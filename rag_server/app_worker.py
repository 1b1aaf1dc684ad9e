"""The composition root of a worker: takes jobs from the broker, shares the stores with the servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from prometheus_client import CollectorRegistry

from ingest_worker.consumer import Consumer
from rag_server.app_ingest import Stores, check_embedder, create_consumer, open_queue, open_stores
from rag_server.background import Background
from rag_server.config import Settings
from rag_server.errors import FailedPrecondition
from rag_server.events import tell_others
from rag_server.health import CHUNKS, EMBEDDER, INGEST, METADATA, QUEUE, Health
from rag_server.prometheus import serve_metrics
from rag_server.transport import address_of

log = structlog.get_logger()

SERVICE = "rag.worker"
NEEDS: Mapping[str, Sequence[str]] = {SERVICE: (METADATA, CHUNKS, EMBEDDER, QUEUE, INGEST)}


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """A worker that takes jobs."""

    address: str
    """`host:port` of its health."""
    health: Health
    stores: Stores
    consumer: Consumer


@asynccontextmanager
async def running_worker(settings: Settings) -> AsyncIterator[RunningWorker]:
    """Work on jobs for the length of the block; then take no more, end those at hand or hand them back.

    Raises `FailedPrecondition` (`SETTING_REQUIRED`, `ADDRESS_UNUSABLE`) and `Unavailable` when it cannot
    start.
    """
    _check(settings)
    async with AsyncExitStack() as stack:
        folder = settings.storage.data_dir.expanduser().absolute()
        stores = await open_stores(settings, folder, stack, owns_folder=False)
        queue, bus = await open_queue(settings, stack)
        tell_others(stores.database, bus)
        registry = CollectorRegistry()
        consumer, dead_letters = create_consumer(
            settings,
            stores.database,
            stores.blobs,
            stores.chunks,
            stores.embedder,
            queue,
            _leave,
            registry,
            stack,
        )
        background = Background()
        health = Health(
            {
                METADATA: stores.database.check,
                CHUNKS: stores.chunks.check,
                EMBEDDER: lambda: check_embedder(stores.embedder),
                QUEUE: queue.check,
                INGEST: background.check,
            },
            needs=NEEDS,
            interval_s=settings.server.health_interval_s,
        )
        address = await _serve_health(settings, health, stack)
        serve_metrics(settings.metrics, registry, stack)
        stack.push_async_callback(background.stop)
        background.start("ingest", consumer.run)
        background.start("dead letters", dead_letters.run)
        await health.check()
        background.start("health", health.run)
        log.info("working", address=address, concurrency=settings.ingest.concurrency)
        try:
            yield RunningWorker(address, health, stores, consumer)
        finally:
            log.info("draining", grace_s=settings.worker.drain_grace_s)
            await health.leave()
            background.expect_end("ingest")
            ended = await consumer.drain(settings.worker.drain_grace_s)
            log.info("drained", handed_back=not ended)
    log.info("stopped")


def _leave() -> None:
    """What a job leaves behind is swept by the servers, which look for it at intervals."""


def _check(settings: Settings) -> None:
    required = {
        "RAG_QUEUE__URL": settings.queue.url.get_secret_value(),
        "RAG_DATABASE__URL": settings.database.url.get_secret_value(),
        "RAG_MILVUS__URI": settings.milvus.uri,
    }
    missing = [name for name, value in required.items() if not value]
    if missing:
        raise FailedPrecondition(
            "SETTING_REQUIRED",
            f"a worker shares these with the servers, and they are not set: {', '.join(missing)}",
            metadata={"settings": ", ".join(missing)},
        )


async def _serve_health(settings: Settings, health: Health, stack: AsyncExitStack) -> str:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    own = settings.worker
    try:
        port = server.add_insecure_port(address_of(own.host, own.port))
    except RuntimeError as error:
        raise FailedPrecondition(
            "ADDRESS_UNUSABLE",
            f"cannot listen on {address_of(own.host, own.port)}: the port is taken, perhaps by another "
            "worker (RAG_WORKER__HOST, RAG_WORKER__PORT)",
        ) from error
    await server.start()
    stack.push_async_callback(server.stop, 0.5)
    return address_of(own.host, port)
