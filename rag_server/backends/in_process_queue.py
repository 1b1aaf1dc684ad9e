"""The job queue of the embedded server: in memory."""

from __future__ import annotations

import asyncio
from collections import deque

from rag_server.backends.protocols import JobRef
from rag_server.errors import ResourceExhausted


class InProcessJobQueue:
    """A first-in first-out queue in memory.

    It forgets everything when the process ends: at start the owner publishes what the metadata store
    knows as unfinished. Bounded by `max_waiting`; each entry costs some hundred bytes.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._waiting: deque[JobRef] = deque()
        self._known: set[JobRef] = set()
        self._available = asyncio.Semaphore(0)

    def __len__(self) -> int:
        return len(self._waiting)

    def check_room(self) -> None:
        """Raise `ResourceExhausted` (`JOB_QUEUE_FULL`) when the bound is reached."""
        if len(self._waiting) >= self._max_waiting:
            raise ResourceExhausted(
                "JOB_QUEUE_FULL",
                f"{self._max_waiting} ingest jobs are waiting already: come back later",
                metadata={"limit": str(self._max_waiting)},
                retry_after_s=10.0,
            )

    async def publish(self, ref: JobRef) -> None:
        """Append `ref`, unless it waits already. Never refuses: the job was accepted."""
        self.put(ref)

    def put(self, ref: JobRef) -> None:
        """Do what `publish` does, at once: in memory there is nothing to wait for."""
        if ref in self._known:
            return
        self._known.add(ref)
        self._waiting.append(ref)
        self._available.release()

    async def take(self) -> JobRef:
        """Wait for a job and take it."""
        await self._available.acquire()
        ref = self._waiting.popleft()
        self._known.discard(ref)
        return ref
