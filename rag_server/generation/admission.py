"""Who may ask a model now: as many as it has permits for.

A few more wait; the others are told when to come back.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rag_server.domain.priority import Priority
from rag_server.errors import ResourceExhausted

_SMOOTHING: Final = 0.2
"""Weight of the latest answer in the mean time of one."""
_UNKNOWN_S: Final = 1.0
"""What an answer is taken to need before the first has been given."""


class Gate:
    """The permits of one model; interactive requests go before bulk ones, each kind as it came."""

    def __init__(self, model: str, *, permits: int, queue: int) -> None:
        """`queue`: how many may wait; more are refused."""
        self._model = model
        self._permits = permits
        self._queue = queue
        self._running = 0
        self._arrivals = 0
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self._mean_s: float | None = None

    @property
    def running_count(self) -> int:
        """Requests that hold a permit."""
        return self._running

    @property
    def waiting_count(self) -> int:
        """Requests that wait for one."""
        return sum(not turn.done() for _, _, turn in self._waiting)

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[None]:
        """Hold a permit for the length of the block.

        Raises:
            ResourceExhausted: `MODEL_QUEUE_FULL`, with the time after which there should be room.
        """
        if self._running >= self._permits or self.waiting_count:
            await self._wait(priority)
        else:
            self._running += 1
        start = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - start
            mean = took if self._mean_s is None else self._mean_s
            self._mean_s = mean + _SMOOTHING * (took - mean)
            self._release()

    async def _wait(self, priority: Priority) -> None:
        waiting = self.waiting_count
        if waiting >= self._queue:
            mean_s = _UNKNOWN_S if self._mean_s is None else self._mean_s
            raise ResourceExhausted(
                "MODEL_QUEUE_FULL",
                f"{waiting} requests wait for the model {self._model!r}, and no more may",
                metadata={"model": self._model, "limit": str(self._queue)},
                retry_after_s=max(0.1, mean_s * (waiting + 1) / self._permits),
            )
        self._arrivals += 1
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, self._arrivals, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the permit came with the cancellation: hand it on
                self._release()
            else:
                turn.cancel()
            raise

    def _release(self) -> None:
        """Hand the permit to who is next, or put it back."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)  # the permit stays taken
                return
        self._running -= 1
