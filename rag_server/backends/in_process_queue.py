"""The job queue of the embedded server: in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rag_server.backends.deliveries import Deliveries
from rag_server.backends.protocols import JobMessage
from rag_server.domain.priority import Priority


class InProcessDelivery:
    """A message that a consumer has."""

    def __init__(self, queue: InProcessJobQueue, message: JobMessage) -> None:
        self._queue = queue
        self._message = message

    @property
    def message(self) -> JobMessage:
        """The message."""
        return self._message

    async def ack(self) -> None:
        return None

    async def retry(self, delay_s: float) -> None:
        self._queue.put_later(self._message, delay_s)

    async def dead_letter(self) -> None:
        self._queue.put_dead(self._message)


class InProcessJobQueue:
    """A `JobQueue` in memory.

    It forgets everything when the process ends: at start the owner puts what the metadata store knows as
    unfinished into the outbox. `ready` bounds what waits in each priority; what is tried again later is not
    counted, and costs some hundred bytes each.
    """

    def __init__(self, *, ready: int = 8) -> None:
        self._ready = ready
        self._waiting: Deliveries[InProcessDelivery] = Deliveries()
        self._dead: Deliveries[InProcessDelivery] = Deliveries()
        self._timers: set[asyncio.TimerHandle] = set()

    @property
    def held(self) -> int:
        """Messages that wait in this process."""
        return sum(self._waiting.waiting(priority) for priority in Priority)

    async def room(self, priority: Priority) -> int:
        return max(0, self._ready - self._waiting.waiting(priority))

    async def publish(self, messages: Sequence[JobMessage]) -> Sequence[JobMessage]:
        for message in messages:
            self._put(message)
        return messages

    async def take(self) -> InProcessDelivery:
        return await self._waiting.take()

    async def take_dead(self) -> InProcessDelivery:
        return await self._dead.take()

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def put_later(self, message: JobMessage, delay_s: float) -> None:
        """Publish a message after a while."""

        def put() -> None:
            self._timers.discard(timer)
            self._put(message)

        timer = asyncio.get_running_loop().call_later(delay_s, put)
        self._timers.add(timer)

    def put_dead(self, message: JobMessage) -> None:
        """Have a message come out at `take_dead`."""
        self._dead.put(message.priority, InProcessDelivery(self, message))

    def _put(self, message: JobMessage) -> None:
        self._waiting.put(message.priority, InProcessDelivery(self, message))
