"""What the benchmark of ingest measures on RabbitMQ and PostgreSQL: workers side by side, and publishing."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.ingest_client import IngestClient, client_of
from demo.distributed import AMQP_URL, POSTGRES_URL, WORKER, own_database, own_queues
from rag_server.backends.protocols import JobMessage
from rag_server.backends.rabbitmq.connection import BrokerConnection
from rag_server.backends.rabbitmq.job_queue import RabbitMQJobQueue
from rag_server.backends.rabbitmq.topology import Topology
from rag_server.domain.priority import Priority
from rag_server.testing.server_process import MAIN, ServerProcess
from rag_server.testing.store_process import StoreProcess

_ROUNDS = 2
_MESSAGES = 10_000


async def measure_workers(documents: Sequence[tuple[str, bytes]]) -> list[Figure]:
    """Chunks per second of two worker processes against those of one, in turns.

    The cores are shared out: each worker runs the model on its share of them.
    """
    ratios = []
    async with _site() as start:
        server = start(MAIN)
        async with client_of(server.address) as client:
            for number in range(_ROUNDS):
                one, two = [
                    await _seconds(start, client, documents, f"round-{number}", count) for count in (1, 2)
                ]
                ratios.append(one / two)
    ratio = statistics.median(ratios)
    return [Figure("two workers / one, chunks per second on two cores", ratio, "x", 1.0, is_at_least=True)]


async def _seconds(
    start: _Start, client: IngestClient, documents: Sequence[tuple[str, bytes]], name: str, count: int
) -> float:
    """Return how long `count` workers take for documents; each has run the model before."""
    threads = max(1, (os.cpu_count() or 1) // count)
    workers = [start(WORKER, embedding__threads=threads) for _ in range(count)]
    for worker in workers:
        worker.wait_for_event("working")
    await client.create(f"{name}-{count}")
    await client.ingest(f"{name}-{count}", [(f"warm-{each}", data) for each, data in documents[:4]])
    seconds = (await client.ingest(f"{name}-{count}", documents)).seconds
    for worker in workers:
        worker.stop()
    return seconds


class _Start:
    """Starts processes, which end with the stack."""

    def __init__(self, folder: Path, settings: dict[str, object], stack: AsyncExitStack) -> None:
        self._folder = folder
        self._settings = settings
        self._stack = stack

    def __call__(self, program: tuple[str, ...], **settings: object) -> ServerProcess:
        process = ServerProcess(self._folder, program=program, **self._settings, **settings)
        self._stack.callback(process.close)
        return process


@asynccontextmanager
async def _site() -> AsyncIterator[_Start]:
    """Give what starts processes that share a database, a broker and a vector store."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "store").mkdir()
        store = StoreProcess(folder / "store")
        stack.callback(store.kill)
        settings: dict[str, object] = {
            "worker__port": 0,
            "database__url": await stack.enter_async_context(own_database(POSTGRES_URL)),
            "milvus__uri": store.uri,
            "queue__url": AMQP_URL,
            "queue__prefix": await stack.enter_async_context(own_queues(AMQP_URL)),
        }
        yield _Start(folder / "data", settings, stack)


async def measure_publishing() -> list[Figure]:
    """Jobs per second that the broker confirms as safe on its disk."""
    async with AsyncExitStack() as stack:
        prefix = await stack.enter_async_context(own_queues(AMQP_URL))
        connection = BrokerConnection(AMQP_URL, "benchmark")
        queue = await RabbitMQJobQueue.open(connection, Topology(prefix, 20))
        await connection.open()
        stack.push_async_callback(connection.close)
        stack.push_async_callback(queue.close)
        messages = [
            JobMessage("default", f"{os.getpid()}-{index}", Priority.BULK) for index in range(_MESSAGES)
        ]
        await queue.publish(messages[:500])
        started = time.perf_counter()
        safe = await queue.publish(messages)
        seconds = time.perf_counter() - started
    if len(safe) != _MESSAGES:
        raise RuntimeError(f"the broker confirmed {len(safe)} of {_MESSAGES} messages")
    rate = _MESSAGES / seconds
    return [Figure(f"{_MESSAGES:,} jobs published with confirms", rate, "/s", 1000, is_at_least=True)]
