"""Who may ask a model now: as many as it has permits for.

A few more wait; the others are told when to come back.
"""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rag_server.domain.priority import Priority
from rag_server.errors import ResourceExhausted

_SMOOTHING: Final = 0.2
"""Weight of the latest answer in the mean time of one."""
_UNKNOWN_S: Final = 1.0
"""What an answer is taken to need before the first has been given."""


_Waiting = tuple[Priority, int, asyncio.Future[None]]
"""Who waits: the number is that of the arrival, the future is done when the permit comes or never will."""


class Gate:
    """The permits of one model; interactive requests go before bulk ones, each kind as it came.

    Where no more may wait, an interactive request takes the place of the bulk one that came last.
    """

    def __init__(self, model: str, *, permits: int, queue: int) -> None:
        """`queue`: how many may wait; more are refused."""
        self._model = model
        self._permits = permits
        self._queue = queue
        self._running = 0
        self._arrivals = 0
        self._waiting: list[_Waiting] = []
        """In the order of their turns."""
        self._mean_s: float | None = None

    @property
    def running_count(self) -> int:
        """Requests that hold a permit."""
        return self._running

    @property
    def waiting_count(self) -> int:
        """Requests that wait for one."""
        return len(self._waiting)

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
        if len(self._waiting) >= self._queue:
            self._make_room(priority)
        self._arrivals += 1
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (priority, self._arrivals, turn)
        insort(self._waiting, waiting)
        try:
            await turn
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif not turn.cancelled() and turn.exception() is None:
                # the permit came with the cancellation: hand it on
                self._release()
            raise

    def _make_room(self, priority: Priority) -> None:
        """Send the last one away whose request is less urgent, or raise `ResourceExhausted`."""
        waiting = len(self._waiting)
        mean_s = _UNKNOWN_S if self._mean_s is None else self._mean_s
        full = ResourceExhausted(
            "MODEL_QUEUE_FULL",
            f"{waiting} requests wait for the model {self._model!r}, and no more may",
            metadata={"model": self._model, "limit": str(self._queue)},
            retry_after_s=max(0.1, mean_s * (waiting + 1) / self._permits),
        )
        if not self._waiting or self._waiting[-1][0] <= priority:
            raise full
        _, _, turn = self._waiting.pop()
        if not turn.done():  # else its caller is leaving anyway
            turn.set_exception(full)

    def _release(self) -> None:
        """Hand the permit to who is next, or put it back."""
        while self._waiting:
            _, _, turn = self._waiting.pop(0)
            if not turn.done():  # else its caller is leaving
                turn.set_result(None)  # the permit stays taken
                return
        self._running -= 1
