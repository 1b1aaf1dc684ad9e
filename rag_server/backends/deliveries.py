"""What has come from a queue and waits for a consumer of this process."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from rag_server.domain.priority import Priority

T = TypeVar("T")

BULK_TURN = 8
"""Of so many in a row that are taken while both wait, one is bulk: it goes slowly then, but on."""


class Deliveries(Generic[T]):
    """A line for each priority. Several takers may wait; each item goes to one of them."""

    def __init__(self) -> None:
        self._lines: dict[Priority, deque[T]] = {priority: deque() for priority in Priority}
        self._available = asyncio.Semaphore(0)
        self._interactive_in_a_row = 0

    def waiting(self, priority: Priority) -> int:
        """Return how many wait."""
        return len(self._lines[priority])

    def put(self, priority: Priority, item: T) -> None:
        """Append an item."""
        self._lines[priority].append(item)
        self._available.release()

    async def take(self) -> T:
        """Wait for an item and take it. A taker that is cancelled takes nothing."""
        while True:
            await self._available.acquire()
            if any(self._lines.values()):
                return self._next()

    def clear(self) -> list[T]:
        """Take all that wait."""
        taken = [item for line in self._lines.values() for item in line]
        for line in self._lines.values():
            line.clear()
        return taken

    def _next(self) -> T:
        interactive, bulk = self._lines[Priority.INTERACTIVE], self._lines[Priority.BULK]
        is_bulks_turn = self._interactive_in_a_row >= BULK_TURN - 1
        if interactive and not (bulk and is_bulks_turn):
            self._interactive_in_a_row += 1 if bulk else 0
            return interactive.popleft()
        self._interactive_in_a_row = 0
        return bulk.popleft()
