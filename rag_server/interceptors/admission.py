"""Bounds the calls worked on at once, and says when to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from rag_server.errors import ResourceExhausted
from rag_server.interceptors.call import Call

WATCHES = frozenset({"/rag.v1.IngestService/WatchJob"})
"""Methods that wait for others' work instead of doing any."""


class Admission:
    """Refuses the call that would be one too many.

    gRPC's own `maximum_concurrent_rpcs` would refuse it too, but without ErrorInfo, and would count health
    checks, so that an overloaded server looked dead.
    """

    def __init__(self, limit: int, watch_limit: int) -> None:
        """Allow `limit` calls and, beside them, `watch_limit` watches: they wait most of the time."""
        self._limits = {False: limit, True: watch_limit}
        self._active = {False: 0, True: 0}
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress."""
        return self._is_idle.is_set()

    async def idle(self) -> None:
        """Wait until no call is in progress."""
        await self._is_idle.wait()

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        """Hold a permit for the length of the call; raise `ResourceExhausted` when there is none."""
        is_watch = call.method in WATCHES
        limit = self._limits[is_watch]
        if self._active[is_watch] >= limit:
            raise ResourceExhausted(
                "TOO_MANY_CONCURRENT_CALLS",
                f"the server works on {limit} {'watches' if is_watch else 'calls'} already: "
                "come back in a moment",
                metadata={"limit": str(limit)},
                retry_after_s=0.5,
            )
        self._active[is_watch] += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._active[is_watch] -= 1
            if not any(self._active.values()):
                self._is_idle.set()
