"""The job queue on RabbitMQ: quorum queues, publisher confirms, manual acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage

from rag_server.backends.deliveries import Deliveries
from rag_server.backends.protocols import JobMessage
from rag_server.backends.rabbitmq.codec import TooNew, Unreadable, decode_job, encode_job
from rag_server.backends.rabbitmq.connection import (
    BROKER_ERRORS,
    BrokerConnection,
    broker_call,
    unavailable,
)
from rag_server.backends.rabbitmq.topology import WAITS_S, Topology
from rag_server.domain.priority import Priority

log = structlog.get_logger()

CONFIRM_TIMEOUT_S = 5.0
"""For one batch, too: its messages are confirmed together."""
BATCH = 256
"""Messages on their way to the broker at a time."""
_DEAD_PREFETCH = 16


class RabbitMQDelivery:
    """A message that a consumer has, on the channel that it came by."""

    def __init__(
        self, queue: RabbitMQJobQueue, message: JobMessage, incoming: AbstractIncomingMessage
    ) -> None:
        self._queue = queue
        self._message = message
        self._incoming = incoming

    @property
    def message(self) -> JobMessage:
        """The message."""
        return self._message

    async def ack(self) -> None:
        with suppress(*BROKER_ERRORS), broker_call():
            await self._incoming.ack()

    async def retry(self, delay_s: float) -> None:
        # Sent on before it is acknowledged: should we die in between there are two, and a lease for one.
        if await self._queue.publish_later(self._message, delay_s):
            await self.ack()
        else:
            with suppress(*BROKER_ERRORS), broker_call():
                await self._incoming.nack(requeue=True)

    async def dead_letter(self) -> None:
        with suppress(*BROKER_ERRORS), broker_call():
            await self._incoming.reject(requeue=False)


class RabbitMQJobQueue:
    """A `JobQueue`. Make it with `open`; it consumes from the first `take` on.

    `prefetch` messages of each priority are held at most, so a consumer that works on that many at once has
    one at hand when it has done with another.
    """

    def __init__(
        self, connection: BrokerConnection, topology: Topology, *, prefetch: int, ready: int
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._prefetch = prefetch
        self._ready = ready
        self._open: AbstractConnection | None = None
        self._publishing: AbstractChannel | None = None
        self._consuming: dict[str, AbstractChannel] = {}
        self._waiting: Deliveries[RabbitMQDelivery] = Deliveries()
        self._dead: Deliveries[RabbitMQDelivery] = Deliveries()
        self._wanted: set[str] = set()
        self._lock = asyncio.Lock()

    @classmethod
    async def open(
        cls, connection: BrokerConnection, topology: Topology, *, prefetch: int = 2, ready: int = 8
    ) -> RabbitMQJobQueue:
        """Return a queue on `connection`, whether that is open by now or not."""
        queue = cls(connection, topology, prefetch=prefetch, ready=ready)
        await connection.use(queue._set_up)
        return queue

    @property
    def held(self) -> int:
        """Messages that wait in this process."""
        return sum(self._waiting.waiting(priority) for priority in Priority)

    async def room(self, priority: Priority) -> int:
        channel = self._channel()
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                # not passive: a queue that somebody has deleted is made again
                with broker_call():
                    queue = await self._topology.declare_jobs(channel, priority)
        except BROKER_ERRORS as error:
            self._give_up(error)
            raise unavailable() from error
        return max(0, self._ready - (queue.declaration_result.message_count or 0))

    async def publish(self, messages: Sequence[JobMessage]) -> Sequence[JobMessage]:
        safe: list[JobMessage] = []
        for start in range(0, len(messages), BATCH):
            channel = self._channel()
            batch = messages[start : start + BATCH]
            outcomes = await asyncio.gather(*(self._send(channel, each) for each in batch))
            safe += [message for message, is_safe in zip(batch, outcomes, strict=True) if is_safe]
            if not any(outcomes):
                break
        if messages and not safe:
            raise unavailable()
        return safe

    async def publish_later(self, message: JobMessage, delay_s: float) -> bool:
        """Have a message come back; return False when that could not be arranged."""
        delay_s = min(max(delay_s, 0.001), WAITS_S[-1])
        channel = self._publishing
        if channel is None or channel.is_closed:
            return False
        return await self._send(channel, message, exchange=self._topology.wait(delay_s), delay_s=delay_s)

    async def take(self) -> RabbitMQDelivery:
        await self._want("jobs")
        return await self._waiting.take()

    async def take_dead(self) -> RabbitMQDelivery:
        await self._want("dead")
        return await self._dead.take()

    async def check(self) -> None:
        self._connection.check()

    async def close(self) -> None:
        channels = [*self._consuming.values(), self._publishing]
        self._wanted.clear()
        self._consuming, self._publishing = {}, None
        for channel in channels:
            if channel is not None:
                with suppress(*BROKER_ERRORS), broker_call():
                    await channel.close()
        self._waiting.clear()
        self._dead.clear()

    async def _set_up(self, connection: AbstractConnection) -> None:
        # what is held came by channels that are gone: it is delivered again
        self._waiting.clear()
        self._dead.clear()
        self._consuming = {}
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await self._topology.declare(channel)
        self._publishing, self._open = channel, connection
        for kind in self._wanted:
            await self._consume(connection, kind)

    async def _want(self, kind: str) -> None:
        async with self._lock:
            if kind in self._wanted:
                return
            self._wanted.add(kind)
            connection = self._open
            if connection is not None and not connection.is_closed and kind not in self._consuming:
                try:
                    with broker_call():
                        await self._consume(connection, kind)
                except BROKER_ERRORS as error:
                    self._give_up(error)

    async def _consume(self, connection: AbstractConnection, kind: str) -> None:
        channel = await connection.channel()
        self._consuming[kind] = channel
        # a channel ends alone when an answer is too late, a consumer when its queue is deleted: begin anew
        channel.close_callbacks.add(lambda *_: self._on_channel_closed(connection, channel))
        underlying = await channel.get_underlay_channel()
        underlying.on_consumer_cancel_callbacks.add(lambda _: self._on_channel_closed(connection, channel))
        if kind == "dead":
            await channel.set_qos(prefetch_count=_DEAD_PREFETCH)
            queue = await channel.get_queue(self._topology.dead, ensure=False)
            await queue.consume(self._receive_dead)
            return
        await channel.set_qos(prefetch_count=self._prefetch)
        for priority in Priority:
            queue = await channel.get_queue(self._topology.jobs(priority), ensure=False)
            await queue.consume(self._receive)

    def _on_channel_closed(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        if channel in self._consuming.values():
            # what we hold of it can no longer be answered for, and is delivered again
            self._waiting.clear()
            self._dead.clear()
            self._connection.renew(connection)

    async def _receive(self, incoming: AbstractIncomingMessage) -> None:
        try:
            message = decode_job(incoming.body)
        except TooNew:
            await self._put_off(incoming)
        except Unreadable:
            with suppress(*BROKER_ERRORS), broker_call():
                await incoming.reject(requeue=False)
        else:
            self._waiting.put(message.priority, RabbitMQDelivery(self, message, incoming))

    async def _receive_dead(self, incoming: AbstractIncomingMessage) -> None:
        try:
            message = decode_job(incoming.body)
        except (TooNew, Unreadable):
            log.error("a message cannot be read", queue=self._topology.unreadable)
            await self._move(incoming, self._channel().default_exchange, self._topology.unreadable)
        else:
            self._dead.put(message.priority, RabbitMQDelivery(self, message, incoming))

    async def _put_off(self, incoming: AbstractIncomingMessage) -> None:
        """Leave a message to a later release: until the last of this one has been replaced."""
        exchange = await self._channel().get_exchange(self._topology.wait(WAITS_S[-2]), ensure=False)
        await self._move(incoming, exchange, incoming.routing_key or "")

    async def _move(
        self, incoming: AbstractIncomingMessage, exchange: AbstractExchange, routing_key: str
    ) -> None:
        with suppress(*BROKER_ERRORS), broker_call():
            message = Message(incoming.body, delivery_mode=DeliveryMode.PERSISTENT)
            await exchange.publish(message, routing_key, timeout=CONFIRM_TIMEOUT_S)
            await incoming.ack()

    async def _send(
        self,
        channel: AbstractChannel,
        message: JobMessage,
        *,
        exchange: str = "",
        delay_s: float | None = None,
    ) -> bool:
        """Publish one message and wait for its confirmation; return whether it is safe."""
        encoded = Message(
            encode_job(message),
            content_type="application/x-protobuf",
            delivery_mode=DeliveryMode.PERSISTENT,
            expiration=delay_s,
        )
        try:
            with broker_call():
                underlying = await channel.get_underlay_channel()
                # `wait` is for the socket's buffer: a batch that waited for it message by message would be
                # sent one by one. How much is on its way is bounded by `BATCH` and the confirmations.
                await underlying.basic_publish(  # type: ignore[call-arg]  # its interface lacks `wait`
                    encoded.body,
                    exchange=exchange,
                    routing_key=self._topology.jobs(message.priority),
                    properties=encoded.properties,
                    mandatory=True,
                    timeout=CONFIRM_TIMEOUT_S,
                    wait=False,
                )
        except BROKER_ERRORS as error:
            log.warning("message not accepted by the broker", error=type(error).__qualname__)
            return False
        return True

    def _channel(self) -> AbstractChannel:
        channel = self._publishing
        if channel is None or channel.is_closed:
            if channel is not None and self._connection.is_open:
                self._connection.renew(self._open)
            raise unavailable()
        return channel

    def _give_up(self, error: BaseException) -> None:
        log.warning("broker does not answer", error=type(error).__qualname__)
        self._connection.renew(self._open)
