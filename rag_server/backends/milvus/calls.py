"""How calls on a collection run: loaded first, in turn, within a time, and with our errors only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import structlog
from pymilvus.exceptions import MilvusException

from rag_server.backends.milvus.connection import ENGINE_ERRORS, RETRIES, Connection, unavailable
from rag_server.backends.milvus.fair_lock import FairLock

Rows = list[dict[str, Any]]
_log = structlog.get_logger(__name__)
MISSING = (4, 100)  # CollectionNotExists in the old and the new numbering of Milvus errors
NOT_LOADED = 101
_CONCURRENT_READS = 8
"""Milvus Lite works on so many calls at once; more would only wait there, with their time running."""
_ATTEMPTS = 2
_LOAD_TIMES = 12
"""Loading a collection, which happens once, may take so many times as long as a call: Milvus Lite indexes all
of it. A search does not wait for the end of that, a write does."""


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
        self._loading: dict[str, asyncio.Task[bool]] = {}
        self._load_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def read(
        self, name: str, action: str, call: Callable[[], Awaitable[Rows]], *, is_search: bool = True
    ) -> Rows:
        """Return what `call` returns, or no rows when the collection is not there.

        What is no search is first tried without loading the collection, and waits for that if it has to.
        """
        patience_s = self._timeout_s
        with failures(action):
            for attempt in range(_ATTEMPTS):
                if not await self._is_ready(name, patience_s, is_search=is_search):
                    break
                await self._acquire(name, exclusive=False)
                try:
                    # the wait for a slot is not the store's fault: it does not count
                    async with self._slots, asyncio.timeout(self._timeout_s):
                        return await call()
                except MilvusException as error:
                    self._loaded.discard(name)
                    if error.code in MISSING:
                        break
                    if error.code != NOT_LOADED or attempt + 1 == _ATTEMPTS:
                        raise
                    is_search, patience_s = True, patience_s if is_search else _LOAD_TIMES * self._timeout_s
                finally:
                    self._release(name, exclusive=False)
        return []

    async def write(
        self, name: str, action: str, call: Callable[[], Awaitable[object]], *, is_delete: bool = False
    ) -> bool:
        """Run `call`; return False when the collection is not there.

        One that deletes does not run while the collection is loaded, nor the other way round: Milvus Lite
        pretends that it is loaded as long as the deletion lasts, and takes that back then, so that whoever
        loads it meanwhile would wait for ever.

        A caller that leaves does not wait for the call on its way, but the next one on the same collection
        does: Milvus Lite is still busy with it.
        """
        with failures(action):
            if not await self._is_ready(name, _LOAD_TIMES * self._timeout_s, is_search=False):
                return False
            lock = self._load_lock(name) if is_delete and self._is_single_writer else None
            if lock is not None:
                async with asyncio.timeout(_LOAD_TIMES * self._timeout_s):
                    await lock.acquire()
            try:
                await self._acquire(name, exclusive=True)
            except BaseException:
                if lock is not None:
                    lock.release()
                raise
            task = asyncio.create_task(self._run_write(name, call, lock))
            self._writes.add(task)
            task.add_done_callback(self._forget)
            try:
                await asyncio.shield(task)
            except MilvusException as error:
                if error.code not in MISSING:
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
        """Stop loading, and wait for the writes whose callers have left; each ends within `timeout_s`."""
        for loading in self._loading.values():
            loading.cancel()
        if self._writes:
            await asyncio.wait(self._writes)

    async def _run_write(
        self, name: str, call: Callable[[], Awaitable[object]], lock: asyncio.Lock | None
    ) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await call()
        finally:
            self._release(name, exclusive=True)
            if lock is not None:
                lock.release()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.debug("vector_store_write_failed", error_type=type(error).__name__)

    async def _is_ready(self, name: str, patience_s: float, *, is_search: bool) -> bool:
        """See to it that a call can be made; return False when the collection is not there."""
        if is_search or not self._is_single_writer or name in self._loaded:
            return await self._ensure_loaded(name, patience_s)
        # the first question after a start may have to wait for Milvus Lite
        async with asyncio.timeout(_LOAD_TIMES * self._timeout_s):
            return bool(await self._connection.client.has_collection(name, retry_times=RETRIES))

    async def _ensure_loaded(self, name: str, patience_s: float) -> bool:
        """Load a collection that this process has not used yet; return False when there is none."""
        if name in self._loaded:
            return True
        loading = self._loading.get(name)
        if loading is None:
            loading = self._loading[name] = asyncio.create_task(self._load(name))
            loading.add_done_callback(partial(self._end_loading, name))
        # shielded: it goes on for the next caller when this one leaves
        async with asyncio.timeout(patience_s):
            return await asyncio.shield(loading)

    async def _load(self, name: str) -> bool:
        client = self._connection.client
        async with asyncio.timeout(_LOAD_TIMES * self._timeout_s):
            if not await client.has_collection(name, retry_times=RETRIES):
                return False
            async with self._load_lock(name):
                await client.load_collection(name, retry_times=RETRIES)
        self._loaded.add(name)
        return True

    def _load_lock(self, name: str) -> asyncio.Lock:
        return self._load_locks.setdefault(name, asyncio.Lock())

    def _end_loading(self, name: str, loading: asyncio.Task[bool]) -> None:
        del self._loading[name]
        if not loading.cancelled():
            loading.exception()  # told to those who wait

    async def _acquire(self, name: str, *, exclusive: bool) -> None:
        if self._is_single_writer:
            await self._locks.setdefault(name, FairLock()).acquire(exclusive=exclusive)

    def _release(self, name: str, *, exclusive: bool) -> None:
        if self._is_single_writer:
            lock = self._locks[name]
            lock.release(exclusive=exclusive)
            if lock.is_idle:
                del self._locks[name]
