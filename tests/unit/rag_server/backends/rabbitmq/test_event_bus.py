from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rag_server.backends.protocols import ServerEvents
from rag_server.backends.rabbitmq.connection import BrokerConnection
from rag_server.backends.rabbitmq.event_bus import RabbitMQEventBus
from rag_server.backends.rabbitmq.topology import Topology
from rag_server.testing.event_bus_suite import Buses, EventBusSuite, Heard
from tests.brokers import AMQP_URL
from tests.tcp_proxy import TcpProxy
from tests.unit.rag_server.backends.rabbitmq.test_job_queue import proxy, proxy_url

__all__ = ["proxy"]


@asynccontextmanager
async def bus_on(topology: Topology, url: str = AMQP_URL) -> AsyncIterator[RabbitMQEventBus]:
    connection = BrokerConnection(url, "test")
    bus = await RabbitMQEventBus.open(connection, topology)
    await connection.open()
    try:
        yield bus
    finally:
        await bus.close()
        await connection.close()


class TestRabbitMQEventBus(EventBusSuite):
    @pytest.fixture
    async def buses(self, topology: Topology) -> AsyncIterator[Buses]:
        async with bus_on(topology) as one, bus_on(topology) as other:
            yield one, other


async def test_lost_connection_tells_of_a_gap_once_it_is_back(topology: Topology, proxy: TcpProxy) -> None:
    async with proxy, bus_on(topology) as sender, bus_on(topology, proxy_url(proxy)) as cut_off:
        heard = Heard(cut_off)
        await proxy.down()
        sender.publish(ServerEvents(jobs=[("acme", "missed")]))
        await asyncio.sleep(0.1)
        await proxy.up()
        await heard.until(gaps=1)
        sender.publish(ServerEvents(jobs=[("acme", "heard")]))
        await heard.until(jobs=1)
        assert heard.jobs == [("acme", "heard")]


async def test_events_wait_for_a_connection_and_one_member_stands_in_for_many_of_a_job(
    topology: Topology, proxy: TcpProxy
) -> None:
    await proxy.up()
    await proxy.down()
    async with bus_on(topology) as listener, bus_on(topology, proxy_url(proxy)) as sender:
        heard = Heard(listener)
        for _ in range(100):
            sender.publish(ServerEvents(jobs=[("acme", "j")]))
        async with proxy:
            await heard.until(jobs=1)
            assert heard.jobs == [("acme", "j")]
            await sender.close()


async def test_member_that_had_to_drop_events_tells_the_others_of_a_gap(
    topology: Topology, proxy: TcpProxy
) -> None:
    await proxy.up()
    await proxy.down()
    async with bus_on(topology) as listener, bus_on(topology, proxy_url(proxy)) as sender:
        heard = Heard(listener)
        for start in range(0, 12_000, 1000):
            sender.publish(ServerEvents(jobs=[("acme", f"j{start + number}") for number in range(1000)]))
        async with proxy:
            await heard.until(gaps=1)
            await sender.close()


async def test_member_that_closes_sends_first_what_it_was_told(topology: Topology) -> None:
    async with bus_on(topology) as listener, bus_on(topology) as sender:
        heard = Heard(listener)
        sender.publish(ServerEvents(jobs=[("acme", "last")]))
        await sender.close()
        await heard.until(jobs=1)
