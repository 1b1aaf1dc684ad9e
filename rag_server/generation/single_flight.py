"""Work that several ask for at once is done once: each gets all of its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final, Generic, TypeVar

T = TypeVar("T")

AHEAD: Final = 256
"""Events by which the work may be ahead of its fastest reader, as in `buffer`."""


class Flight(Generic[T]):
    """One piece of work, its events so far, and those who read it.

    The fastest reader sets the pace: a slow one holds nobody up, since an answer is small enough to be kept
    whole.
    """

    def __init__(self, events: AsyncGenerator[T, None], *, ahead: int = AHEAD) -> None:
        self._ahead = ahead
        self._events: list[T] = []
        self._front = 0
        """What the fastest reader has got."""
        self._changed = asyncio.Event()
        self.reader_count = 0
        self._task = asyncio.create_task(self._run(events))
        self._task.add_done_callback(self._ended)

    @property
    def is_done(self) -> bool:
        """Whether the work has come to its end, or failed."""
        return self._task.done()

    async def read(self) -> AsyncGenerator[T, None]:
        """Yield all events from the first on, then raise the error of the work if it has one."""
        position = 0
        while True:
            changed = self._changed
            if position < len(self._events):
                event = self._events[position]
                position += 1
                if position > self._front:
                    self._front = position
                    self._wake()
                yield event
            elif self._task.done():
                self._task.result()
                return
            else:
                await changed.wait()

    async def stop(self) -> None:
        """End the work, and wait for that."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, events: AsyncGenerator[T, None]) -> None:
        async with aclosing(events):
            async for event in events:
                self._events.append(event)
                self._wake()
                while len(self._events) - self._front >= self._ahead:
                    await self._changed.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # seen; every reader is told
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class SingleFlight(Generic[T]):
    """The work that is under way, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight[T]] = {}

    @property
    def count(self) -> int:
        """Pieces of work that somebody reads."""
        return len(self._flights)

    @asynccontextmanager
    async def joined(
        self, key: str, work: Callable[[], AsyncGenerator[T, None]]
    ) -> AsyncIterator[tuple[Flight[T], bool]]:
        """Hold the flight of `key` for the length of the block; tell whether it was there before.

        Where there is none, `work` begins. The last one who leaves ends it, if it has not ended.
        """
        flight = self._flights.get(key)
        is_shared = flight is not None and not flight.is_done
        if flight is None or not is_shared:
            flight = self._flights[key] = Flight(work())
        flight.reader_count += 1
        try:
            yield flight, is_shared
        finally:
            flight.reader_count -= 1
            if not flight.reader_count:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                await flight.stop()
