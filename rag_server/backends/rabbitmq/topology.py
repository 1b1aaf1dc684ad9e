"""Queues and exchanges: durable, quorum queues; names have a common prefix, so that a broker can be shared.

    <prefix>.jobs.interactive, <prefix>.jobs.bulk   what is to be worked on
    <prefix>.dead                                   exchange and queue of what was refused, or came too often
    <prefix>.unreadable                             what nobody can decode, for people; the oldest are dropped
    <prefix>.wait.<seconds>                         exchange and queue of what is tried again later
    <prefix>.events                                 exchange of events, see `event_bus`

A message that waits carries its own time to live; where it came from is its routing key, by which the
default exchange brings it back. RabbitMQ looks at the head of a queue only, so a message may wait as long as
those before it: hence a queue for each order of magnitude. Priorities are queues of their own, since quorum
queues had none before RabbitMQ 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from aio_pika.abc import AbstractChannel, AbstractQueue, ExchangeType

from rag_server.domain.priority import Priority

WAITS_S: Final = (1, 4, 16, 64, 256)
"""The longest wait in each of the queues, in seconds."""
_UNREADABLE_KEPT: Final = 10_000
_AT_LEAST_ONCE: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    # a message leaves its queue only when the next one has confirmed it (RabbitMQ 3.10)
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


@dataclass(frozen=True, slots=True)
class Topology:
    """Names, and how to declare what they stand for. Declaring what is there does nothing."""

    prefix: str
    delivery_limit: int
    """Deliveries of one message that end without an answer before the broker gives it up."""

    def jobs(self, priority: Priority) -> str:
        """Return the queue of a priority."""
        return f"{self.prefix}.jobs.{priority.name.lower()}"

    @property
    def dead(self) -> str:
        """Exchange and queue of what was given up."""
        return f"{self.prefix}.dead"

    @property
    def unreadable(self) -> str:
        """Queue of what cannot be decoded."""
        return f"{self.prefix}.unreadable"

    @property
    def events(self) -> str:
        """Fanout exchange of events."""
        return f"{self.prefix}.events"

    def wait(self, delay_s: float) -> str:
        """Return the exchange, and queue, for a delay."""
        band = next((each for each in WAITS_S if delay_s <= each), WAITS_S[-1])
        return f"{self.prefix}.wait.{band}"

    @property
    def queues(self) -> list[str]:
        """All queues."""
        waits = [self.wait(each) for each in WAITS_S]
        return [*(self.jobs(priority) for priority in Priority), self.dead, self.unreadable, *waits]

    @property
    def exchanges(self) -> list[str]:
        """All exchanges."""
        return [self.dead, self.events, *(self.wait(each) for each in WAITS_S)]

    async def declare(self, channel: AbstractChannel) -> None:
        """Declare everything of the job queue."""
        await channel.declare_exchange(self.dead, ExchangeType.FANOUT, durable=True)
        dead = await channel.declare_queue(self.dead, durable=True, arguments={"x-queue-type": "quorum"})
        await dead.bind(self.dead)
        await channel.declare_queue(
            self.unreadable,
            durable=True,
            arguments={"x-queue-type": "quorum", "x-max-length": _UNREADABLE_KEPT, "x-overflow": "drop-head"},
        )
        for priority in Priority:
            await self.declare_jobs(channel, priority)
        for band in WAITS_S:
            name = self.wait(band)
            exchange = await channel.declare_exchange(name, ExchangeType.FANOUT, durable=True)
            arguments = {**_AT_LEAST_ONCE, "x-dead-letter-exchange": "", "x-message-ttl": band * 1000}
            queue = await channel.declare_queue(name, durable=True, arguments=arguments)
            await queue.bind(exchange)

    async def declare_jobs(self, channel: AbstractChannel, priority: Priority) -> AbstractQueue:
        """Declare the queue of a priority, and learn how many messages wait in it."""
        return await channel.declare_queue(
            self.jobs(priority),
            durable=True,
            arguments={
                **_AT_LEAST_ONCE,
                "x-dead-letter-exchange": self.dead,
                "x-delivery-limit": self.delivery_limit,
            },
        )

    async def delete(self, channel: AbstractChannel) -> None:
        """Delete everything, with what is in it: for tests, which have a prefix of their own."""
        for queue in self.queues:
            await channel.queue_delete(queue)
        for exchange in self.exchanges:
            await channel.exchange_delete(exchange)
