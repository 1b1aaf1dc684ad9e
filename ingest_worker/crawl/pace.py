"""How often a host is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class HostPacer:
    """Gives out turns: per origin so many at once, and not sooner after each other than its interval."""

    def __init__(self, *, requests_per_second: float, concurrency: int) -> None:
        self._interval_s = 1.0 / requests_per_second
        self._concurrency = concurrency
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._next_s: dict[str, float] = {}

    @asynccontextmanager
    async def turn(self, origin: str, delay_s: float = 0.0) -> AsyncIterator[None]:
        """Wait for the origin's next turn and hold a slot; `delay_s` is its robots.txt's crawl-delay."""
        slots = self._slots.setdefault(origin, asyncio.Semaphore(self._concurrency))
        async with slots:
            now_s = time.monotonic()
            start_s = max(now_s, self._next_s.get(origin, 0.0))
            self._next_s[origin] = start_s + max(self._interval_s, delay_s)  # taken before anyone else looks
            await asyncio.sleep(start_s - now_s)
            yield

    def hold(self, origin: str, seconds: float) -> None:
        """Ask nothing of `origin` for a while: it said that it is busy."""
        self._next_s[origin] = max(self._next_s.get(origin, 0.0), time.monotonic() + seconds)
