from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import pytest

from rag_server.backends.rabbitmq.connection import BrokerConnection
from rag_server.backends.rabbitmq.job_queue import RabbitMQJobQueue
from rag_server.backends.rabbitmq.topology import Topology
from rag_server.testing.job_queue_suite import READY
from tests.brokers import AMQP_URL, own_topology


class OpenQueue(Protocol):
    async def __call__(self, url: str = AMQP_URL, *, prefetch: int = 4) -> RabbitMQJobQueue: ...


@pytest.fixture
async def topology() -> AsyncIterator[Topology]:
    async with own_topology(delivery_limit=2) as topology:
        yield topology


@asynccontextmanager
async def queue_on(topology: Topology, url: str, prefetch: int) -> AsyncIterator[RabbitMQJobQueue]:
    connection = BrokerConnection(url, "test")
    queue = await RabbitMQJobQueue.open(connection, topology, prefetch=prefetch, ready=READY)
    await connection.open()
    try:
        yield queue
    finally:
        await queue.close()
        await connection.close()


@pytest.fixture
async def open_queue(topology: Topology) -> AsyncIterator[OpenQueue]:
    """Return a function that opens a queue as a process of its own would."""
    async with AsyncExitStack() as stack:

        async def open_one(url: str = AMQP_URL, *, prefetch: int = 4) -> RabbitMQJobQueue:
            return await stack.enter_async_context(queue_on(topology, url, prefetch))

        yield open_one
