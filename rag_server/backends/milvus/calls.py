"""How calls on a collection run: loaded first, in turn, within a time, and with our errors only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from pymilvus.exceptions import MilvusException

from rag_server.backends.milvus.connection import ENGINE_ERRORS, RETRIES, Connection, unavailable
from rag_server.backends.milvus.fair_lock import FairLock

Rows = list[dict[str, Any]]
_log = structlog.get_logger(__name__)
_MISSING = (4, 100)  # CollectionNotExists in the old and the new numbering of Milvus errors
_NOT_LOADED = 101
_CONCURRENT_READS = 8
"""Milvus Lite works on so many calls at once; more would only wait there, with their time running."""
_ATTEMPTS = 2


@contextmanager
def failures(action: str) -> Iterator[None]:
    """Turn whatever Milvus raises, and a call that takes too long, into `Unavailable`."""
    try:
        yield
    except (*ENGINE_ERRORS, TimeoutError) as error:
        raise unavailable(action, error) from error


class CollectionCalls:
    """Reads and writes of collections by name.

    Args:
        connection: Where to.
        timeout_s: Bound of each call, the wait for its turn not included.
        is_single_writer: Whether a write must have a collection for itself.
    """

    def __init__(self, connection: Connection, *, timeout_s: float, is_single_writer: bool) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._is_single_writer = is_single_writer
        self._loaded: set[str] = set()
        self._locks: dict[str, FairLock] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT_READS)
        self._writes: set[asyncio.Task[Any]] = set()

    def is_loaded(self, name: str) -> bool:
        """Whether a collection is known to answer searches."""
        return name in self._loaded

    def mark_loaded(self, name: str) -> None:
        """Remember that a collection has been created and loaded."""
        self._loaded.add(name)

    async def read(self, name: str, action: str, call: Callable[[], Awaitable[Rows]]) -> Rows:
        """Return what `call` returns, or no rows when the collection is not there."""
        with failures(action):
            for attempt in range(_ATTEMPTS):
                if not await self._ensure_loaded(name):
                    break
                await self._acquire(name, exclusive=False)
                try:
                    # the wait for a slot is not the store's fault: it does not count
                    async with self._slots, asyncio.timeout(self._timeout_s):
                        return await call()
                except MilvusException as error:
                    self._loaded.discard(name)
                    if error.code in _MISSING:
                        break
                    if error.code != _NOT_LOADED or attempt + 1 == _ATTEMPTS:
                        raise
                finally:
                    self._release(name, exclusive=False)
        return []

    async def write(self, name: str, action: str, call: Callable[[], Awaitable[object]]) -> bool:
        """Run `call`; return False when the collection is not there.

        A caller that leaves does not wait for the call on its way, but the next one on the same
        collection does: Milvus Lite is still busy with it.
        """
        with failures(action):
            if not await self._ensure_loaded(name):
                return False
            await self._acquire(name, exclusive=True)
            task = asyncio.create_task(self._run_write(name, call))
            self._writes.add(task)
            task.add_done_callback(self._forget)
            try:
                await asyncio.shield(task)
            except MilvusException as error:
                if error.code not in _MISSING:
                    raise
                self._loaded.discard(name)
                return False
        return True

    async def drop(self, name: str, call: Callable[[], Awaitable[object]]) -> None:
        """Run `call`, which removes the collection, when nothing else uses it."""
        with failures("drop_collection"):
            await self._acquire(name, exclusive=True)
            self._loaded.discard(name)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await call()
            finally:
                self._release(name, exclusive=True)

    async def drain(self) -> None:
        """Wait for the writes whose callers have left; each ends within `timeout_s`."""
        if self._writes:
            await asyncio.wait(self._writes)

    async def _run_write(self, name: str, call: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await call()
        finally:
            self._release(name, exclusive=True)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.debug("vector_store_write_failed", error_type=type(error).__name__)

    async def _ensure_loaded(self, name: str) -> bool:
        """Load a collection that this process has not used yet; return False when there is none."""
        if name in self._loaded:
            return True
        client = self._connection.client
        async with asyncio.timeout(self._timeout_s):
            if not await client.has_collection(name, retry_times=RETRIES):
                return False
            await client.load_collection(name, retry_times=RETRIES)
        self._loaded.add(name)
        return True

    async def _acquire(self, name: str, *, exclusive: bool) -> None:
        if self._is_single_writer:
            await self._locks.setdefault(name, FairLock()).acquire(exclusive=exclusive)

    def _release(self, name: str, *, exclusive: bool) -> None:
        if self._is_single_writer:
            lock = self._locks[name]
            lock.release(exclusive=exclusive)
            if lock.is_idle:
                del self._locks[name]
