"""Events on RabbitMQ: a fanout exchange, and for each process a queue that goes when the process goes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aio_pika import Message
from aio_pika.abc import AbstractConnection, AbstractExchange, AbstractIncomingMessage, ExchangeType

from rag_server.backends.protocols import ServerEvents
from rag_server.backends.rabbitmq.codec import TooNew, Unreadable, decode_events, encode_events
from rag_server.backends.rabbitmq.connection import BROKER_ERRORS, BrokerConnection, broker_call
from rag_server.backends.rabbitmq.topology import Topology
from rag_server.domain.change import CollectionChange

log = structlog.get_logger()

_MAX_PENDING = 10_000
"""Events that wait for the broker; past it they are dropped, as those of a lost connection are."""
_MAX_QUEUED = 100_000
_SEND_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 1.0


class RabbitMQEventBus:
    """An `EventBus`. Make it with `open`.

    What is told while there is no connection gets lost. Whoever was cut off learns that it was, and reads
    again what it remembers; whoever was not, and missed it, did so because the sender was cut off: it tells
    of a gap to all when it is back.
    """

    def __init__(self, connection: BrokerConnection, topology: Topology) -> None:
        self._connection = connection
        self._topology = topology
        self._id = uuid.uuid4().hex
        self._listeners: list[tuple[Callable[[ServerEvents], None], Callable[[], None]]] = []
        self._jobs: dict[tuple[str, str], None] = {}
        self._collections: list[CollectionChange] = []
        self._has_dropped = False
        self._due = asyncio.Event()
        self._exchange: AbstractExchange | None = None
        self._sender: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, connection: BrokerConnection, topology: Topology) -> RabbitMQEventBus:
        """Return a bus on `connection`, whether that is open by now or not."""
        bus = cls(connection, topology)
        bus._sender = asyncio.create_task(bus._send(), name="event-bus")
        await connection.use(bus._set_up)
        return bus

    def publish(self, events: ServerEvents) -> None:
        if len(self._jobs) + len(self._collections) > _MAX_PENDING:
            self._drop()
        # a job that is told of already, and not sent yet, need not be told of again
        self._jobs.update(dict.fromkeys(events.jobs))
        self._collections += events.collections
        self._due.set()

    def subscribe(self, on_events: Callable[[ServerEvents], None], on_gap: Callable[[], None]) -> None:
        self._listeners.append((on_events, on_gap))

    async def close(self) -> None:
        if self._sender is None:
            return
        self._sender.cancel()
        with suppress(asyncio.CancelledError):
            await self._sender
        self._sender = None
        with suppress(TimeoutError):  # the last commits of a process that stops: nobody else tells of them
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._send_pending()

    async def _set_up(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False)
        exchange = await channel.declare_exchange(self._topology.events, ExchangeType.FANOUT, durable=True)
        arguments: dict[str, Any] = {"x-max-length": _MAX_QUEUED}
        queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments=arguments)
        await queue.bind(exchange)
        await queue.consume(self._receive, no_ack=True)
        self._exchange = exchange
        # now everything from here on arrives: what happened before has to be read
        for _, on_gap in self._listeners:
            on_gap()
        self._due.set()

    async def _receive(self, incoming: AbstractIncomingMessage) -> None:
        if incoming.app_id == self._id:
            return
        try:
            events = decode_events(incoming.body)
        except (TooNew, Unreadable):
            log.warning("an event cannot be read: taken as a gap")
            events = None
        for on_events, on_gap in self._listeners:
            if events is None or _is_empty(events):  # an empty one says that its sender has dropped some
                on_gap()
            else:
                on_events(events)

    async def _send(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self._send_pending()

    async def _send_pending(self) -> None:
        exchange = self._exchange
        if exchange is None or not self._connection.is_open:
            return  # due again once there is a connection
        if self._has_dropped:
            self._has_dropped = not await self._send_one(exchange, ServerEvents())
        jobs, collections = list(self._jobs), self._collections
        self._jobs, self._collections = {}, []
        if (jobs or collections) and not await self._send_one(exchange, ServerEvents(jobs, collections)):
            self._has_dropped = True

    async def _send_one(self, exchange: AbstractExchange, events: ServerEvents) -> bool:
        message = Message(encode_events(events), app_id=self._id, content_type="application/x-protobuf")
        try:
            with broker_call():
                await exchange.publish(message, "", mandatory=False, timeout=_SEND_TIMEOUT_S)
        except BROKER_ERRORS as error:
            log.warning("events could not be sent", error=type(error).__qualname__)
            return False
        return True

    def _drop(self) -> None:
        self._jobs, self._collections = {}, []
        self._has_dropped = True


def _is_empty(events: ServerEvents) -> bool:
    parts: Sequence[Sequence[object]] = (events.jobs, events.collections)
    return not any(parts)
