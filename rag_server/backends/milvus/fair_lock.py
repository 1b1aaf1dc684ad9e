"""A lock for many readers or one writer, granted in order of arrival.

The engine of Milvus Lite is not safe for a read beside a write: while it moves a full write buffer
to disk, rows acknowledged long before are in neither place, and a search misses them. First come,
first served: a stream of writes cannot starve the searches, nor the other way round.
"""

from __future__ import annotations

import asyncio
from collections import deque


class FairLock:
    """Shared or exclusive; cancelling a waiter takes it out of the queue. Bound to one event loop."""

    def __init__(self) -> None:
        self._readers = 0
        self._is_writing = False
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nobody has the lock or waits for it."""
        return not (self._readers or self._is_writing or self._waiting)

    async def acquire(self, *, exclusive: bool) -> None:
        """Wait for the turn. Every successful call needs one `release` with the same `exclusive`."""
        if not self._waiting and self._is_free(exclusive=exclusive):
            self._grant(exclusive=exclusive)
            return
        turn = asyncio.get_running_loop().create_future()
        entry = (turn, exclusive)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._wake()  # who came after a cancelled writer may go now
            elif not turn.cancelled():  # granted just before: hand it on
                self.release(exclusive=exclusive)
            raise

    def release(self, *, exclusive: bool) -> None:
        """Give the turn back."""
        if exclusive:
            self._is_writing = False
        else:
            self._readers -= 1
        self._wake()

    def _is_free(self, *, exclusive: bool) -> bool:
        return not self._is_writing and not (exclusive and self._readers)

    def _grant(self, *, exclusive: bool) -> None:
        if exclusive:
            self._is_writing = True
        else:
            self._readers += 1

    def _wake(self) -> None:
        while self._waiting and self._is_free(exclusive=self._waiting[0][1]):
            turn, exclusive = self._waiting.popleft()
            if turn.done():  # cancelled, and its waiter has not run yet
                continue
            self._grant(exclusive=exclusive)
            turn.set_result(None)
