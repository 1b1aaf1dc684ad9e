"""A broker that tests may use: every test has names of its own on it, and deletes what it has declared."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika

from rag_server.backends.rabbitmq.topology import Topology

AMQP_URL = os.environ.get("RAG_TEST_AMQP_URL") or "amqp://guest:guest@127.0.0.1:5672/"
"""RabbitMQ, 3.10 or later. Read now: later, tests see no `RAG_` variables."""


def new_prefix() -> str:
    return f"ragtest-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def own_topology(delivery_limit: int = 20) -> AsyncIterator[Topology]:
    """Give names that nobody else has, and delete afterwards what was declared under them."""
    topology = Topology(new_prefix(), delivery_limit)
    try:
        yield topology
    finally:
        await delete(topology)


async def delete(topology: Topology) -> None:
    try:
        connection = await aio_pika.connect(AMQP_URL, timeout=10)
    except OSError as error:
        raise AssertionError(
            f"no RabbitMQ answers at RAG_TEST_AMQP_URL: {type(error).__qualname__}"
        ) from None
    async with connection:
        await topology.delete(await connection.channel())
