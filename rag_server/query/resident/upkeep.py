"""Work on collections in memory that nobody waits for: merging, indexing, snapshots. One job at a time.

It has a thread of its own, so it takes one core at most from those who ask.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import structlog

from rag_server.query.resident.collection import ResidentCollection
from rag_server.query.resident.merging import choose_merge, choose_unindexed, merge_parts
from rag_server.query.resident.snapshot import SnapshotFolder

_log = structlog.get_logger(__name__)
T = TypeVar("T")
QUIET_S: Final = 5.0
"""A snapshot is written once a collection has not changed for this long: not after each of many changes."""


class Upkeep:
    """Keeps collections in order."""

    def __init__(self, snapshots: SnapshotFolder | None, *, quiet_s: float = QUIET_S) -> None:
        self._snapshots = snapshots
        self._quiet_s = quiet_s
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="resident-upkeep")
        self._stop = threading.Event()
        self._saved: dict[str, int] = {}
        self._seen: dict[str, tuple[int, float]] = {}

    async def tend(self, resident: ResidentCollection) -> bool:
        """Do the most urgent piece of work on a collection; return False when there is none now."""
        state = resident.state
        if parts := choose_merge(state):
            merged = await self._run(partial(merge_parts, parts, self._stop.is_set))
            if merged is not None:
                await resident.exchange(parts, merged)
            return merged is not None
        if (segment := choose_unindexed(state)) is not None:
            indexed = await self._run(partial(segment.indexed, self._stop.is_set))
            if indexed is not None:
                await resident.renew(indexed)
            return indexed is not None
        return await self._save_when_quiet(resident)

    async def _save_when_quiet(self, resident: ResidentCollection) -> bool:
        uid, revision = resident.collection.uid, resident.state.revision
        now = time.monotonic()
        seen, since = self._seen.get(uid, (-1, now))
        if seen != revision:
            self._seen[uid] = (revision, now)
        elif (
            self._snapshots is not None and self._saved.get(uid) != revision and now - since >= self._quiet_s
        ):
            return await self.save(resident)
        return False

    async def save(self, resident: ResidentCollection) -> bool:
        """Write a snapshot; from then on the files are used in the place of the copy in memory."""
        if self._snapshots is None:
            return False
        state = resident.state
        uid = resident.collection.uid
        self._saved[uid] = state.revision  # if that fails, the next revision tries again
        try:
            mapped = await self._run(partial(self._snapshots.save, resident.collection, state))
        except (OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
            # not written, or altered since, or no room: FAISS raises RuntimeError
            _log.warning("snapshot not written", collection=uid, why=type(error).__name__)
            return False
        for segment in mapped:
            await resident.renew(segment)
        return True

    def mark_saved(self, uid: str, revision: int) -> None:
        """Take note of the revision that the newest snapshot of a collection has."""
        self._saved[uid] = revision

    def forget(self, uid: str) -> None:
        """Take note that a collection is no longer in memory."""
        self._saved.pop(uid, None)
        self._seen.pop(uid, None)

    def remove_snapshot(self, uid: str) -> None:
        """Remove the snapshot of a collection that is gone, after the one that is being written, if any."""
        if self._snapshots is not None and not self._stop.is_set():
            self._executor.submit(self._snapshots.remove, uid)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def close(self) -> None:
        """Stop what is being done; waits for the end of it."""
        self._stop.set()
        await asyncio.to_thread(self._executor.shutdown)
