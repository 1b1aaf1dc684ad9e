"""Bounds the calls worked on at once, and says when to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rag_server.errors import ResourceExhausted
from rag_server.interceptors.call import Call


class Admission:
    """Refuses the call that would be one too many.

    gRPC's own `maximum_concurrent_rpcs` would refuse it too, but without ErrorInfo, and would count health
    checks, so that an overloaded server looked dead.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._active = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def idle(self) -> None:
        """Wait until no call is in progress."""
        await self._is_idle.wait()

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Hold a permit for the length of the call; raise `ResourceExhausted` when there is none."""
        if self._active >= self._limit:
            raise ResourceExhausted(
                "TOO_MANY_CONCURRENT_CALLS",
                f"the server works on {self._limit} calls already: come back in a moment",
                metadata={"limit": str(self._limit)},
                retry_after_s=0.5,
            )
        self._active += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._active -= 1
            if self._active == 0:
                self._is_idle.set()
