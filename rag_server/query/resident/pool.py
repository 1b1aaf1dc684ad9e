"""The collections that are in memory: which, for how long, and within how many bytes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Collection
from rag_server.errors import NotFound, RagError
from rag_server.query.resident.collection import LoadSource, ResidentCollection
from rag_server.query.resident.last_used import LastUsed
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.source import CollectionSource
from rag_server.query.resident.upkeep import Upkeep

_log = structlog.get_logger(__name__)
_BYTES_PER_PASSAGE: Final = 2_200
"""Text, terms and numbers of a passage of usual length; its vector and its links are added to that."""
_LINK_BYTES: Final = 160
_RETRY_S: Final = 10.0
"""How long after a failed build the next query may start another."""
_TOO_LARGE_S: Final = 600.0
"""The same after a build whose result did not fit, although it had been expected to."""
_ROUND_S: Final = 1.0


@dataclass(slots=True)
class Entry:
    """A collection in memory, or on its way there."""

    resident: ResidentCollection
    building: asyncio.Task[None]
    last_use: float
    """Seconds since the epoch."""
    is_preloaded: bool = False
    """Nobody has asked it in this run."""
    query_count: int = 0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What bounds the pool."""

    memory_bytes: int
    ttl_s: float
    """How long a collection stays that nobody asks."""


@dataclass(slots=True)
class _Books:
    """What is known of collections, in memory or not, by uid."""

    store_queries: dict[str, int] = field(default_factory=dict)
    build_after: dict[str, float] = field(default_factory=dict)
    """When a query may start another build, on the clock of `time.monotonic`."""
    announced: dict[str, int] = field(default_factory=dict)
    """Revisions to be followed."""

    def forget(self, uid: str) -> None:
        self.store_queries.pop(uid, None)
        self.build_after.pop(uid, None)


class ResidentPool:
    """Least recently used first out; one build at a time, during which others answer.

    Args:
        source: Where collections come from.
        snapshots: Where they are kept between two runs; None: nowhere.
        last_used: Which were asked last, for the next start.
        limits: Bounds.
        upkeep: Merges, graphs and snapshots.
    """

    def __init__(
        self,
        source: CollectionSource,
        snapshots: SnapshotFolder | None,
        last_used: LastUsed,
        limits: PoolLimits,
        upkeep: Upkeep,
    ) -> None:
        self._source = source
        self._snapshots = snapshots
        self._last_used = last_used
        self._limits = limits
        self._upkeep = upkeep
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._one_build = asyncio.Semaphore(1)
        self._books = _Books()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._is_closed = False

    def get(self, collection: Collection) -> ResidentCollection | None:
        """Return the collection if it can be searched in memory now, else see to it that it will be.

        None also for a collection that would not fit into the budget on its own.
        """
        entry = self._entries.get(collection.uid)
        if entry is None:
            self._build(collection, is_preloaded=False)
        else:
            self._entries.move_to_end(collection.uid)
            entry.last_use = time.time()
            entry.is_preloaded = False
            if entry.resident.last_load is not None:
                entry.query_count += 1
                return entry.resident
        counts = self._books.store_queries
        counts[collection.uid] = counts.get(collection.uid, 0) + 1
        return None

    async def built(self, collection_uid: str, patience_s: float | None) -> ResidentCollection | None:
        """Wait for the build that is under way, for so long; None: there is none, it failed, or goes on."""
        entry = self._entries.get(collection_uid)
        if entry is None:
            return None
        await asyncio.wait([entry.building], timeout=patience_s)
        return entry.resident if entry.resident.last_load is not None else None

    def entries(self, tenant_id: str) -> list[Entry]:
        """Return a tenant's collections in memory or on their way there."""
        return [each for each in self._entries.values() if each.resident.collection.tenant_id == tenant_id]

    def store_query_count(self, collection_uid: str) -> int:
        """Return how many queries found the collection not in memory."""
        return self._books.store_queries.get(collection_uid, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of all collections in memory."""
        return sum(entry.resident.state.nbytes for entry in self._entries.values())

    def known(self) -> set[str]:
        """Return the uids of the collections in memory, and of those on their way there."""
        return set(self._entries)

    def announce(self, changes: Sequence[CollectionChange]) -> None:
        """Follow a commit: what is in memory catches up at once, what was deleted goes."""
        for change in changes:
            uid = change.collection_uid
            if change.revision is None:
                self._drop(uid)
                self._books.forget(uid)
                self._last_used.forget(uid)
                self._upkeep.remove_snapshot(uid)
            elif uid in self._entries and not self._is_closed:
                self._books.announced[uid] = max(change.revision, self._books.announced.get(uid, 0))
                if uid not in self._followers:
                    task = asyncio.create_task(self._follow(uid), name="resident-follow")
                    self._followers[uid] = task
                    task.add_done_callback(partial(self._end_following, uid))

    def _end_following(self, uid: str, _task: asyncio.Task[None]) -> None:
        self._followers.pop(uid, None)

    async def _follow(self, uid: str) -> None:
        while (revision := self._books.announced.pop(uid, None)) is not None:
            entry = self._entries.get(uid)
            if entry is None or entry.resident.last_load is None:
                continue  # it will be built from what is there then
            try:
                await entry.resident.catch_up(revision)
            except NotFound:
                self._drop(uid)
            except RagError as error:
                _log.warning("collection in memory is behind", collection=uid, reason=error.reason)

    def _build(self, collection: Collection, *, is_preloaded: bool) -> None:
        if self._is_closed or self.estimate_bytes(collection) > self._limits.memory_bytes:
            return
        if time.monotonic() < self._books.build_after.get(collection.uid, 0.0):
            return
        resident = ResidentCollection(collection, self._source, self._snapshots)
        building = asyncio.create_task(self._load(resident), name="resident-build")
        self._entries[collection.uid] = Entry(resident, building, time.time(), is_preloaded)

    async def _load(self, resident: ResidentCollection) -> None:
        uid = resident.collection.uid
        try:
            async with self._one_build:
                self._make_room(self.estimate_bytes(resident.collection), besides=uid)
                await resident.load()
        except asyncio.CancelledError:
            self._drop(uid, resident)
            raise
        except RagError as error:
            _log.warning("collection not brought into memory", collection=uid, reason=error.reason)
            self._end_in_failure(uid, resident)
        except BaseException:
            self._end_in_failure(uid, resident)
            raise
        else:
            self._books.build_after.pop(uid, None)
            self._make_room(0, besides=uid)
            if (load := resident.last_load) is not None and load.source is LoadSource.SNAPSHOT:
                self._upkeep.mark_saved(uid, load.revision)

    def _end_in_failure(self, uid: str, resident: ResidentCollection) -> None:
        self._books.build_after[uid] = time.monotonic() + _RETRY_S
        self._drop(uid, resident)

    def estimate_bytes(self, collection: Collection) -> int:
        """Return about how much memory a collection takes."""
        vector_bytes = 4 * collection.dimension
        return collection.chunk_count * (vector_bytes + _LINK_BYTES + _BYTES_PER_PASSAGE)

    def _make_room(self, wanted: int, *, besides: str) -> None:
        """Let go of collections, least recently used first, until `wanted` bytes are left."""
        limit = self._limits.memory_bytes
        sizes = {uid: entry.resident.state.nbytes for uid, entry in self._entries.items()}
        excess = sum(sizes.values()) + wanted - limit
        for uid in sorted(sizes, key=lambda uid: sizes[uid] <= limit):  # first what fits in no case
            if excess <= 0:
                return
            if (uid != besides or sizes[uid] > limit) and self._entries[uid].resident.last_load is not None:
                _log.info("collection leaves memory", collection=uid, why="room is needed")
                if sizes[uid] > limit:
                    self._books.build_after[uid] = time.monotonic() + _TOO_LARGE_S
                self._drop(uid)
                excess -= sizes[uid]

    def _drop(self, uid: str, resident: ResidentCollection | None = None) -> None:
        """Let go of a collection; with `resident`, only if that is what there is of it."""
        entry = self._entries.get(uid)
        if entry is None or (resident is not None and entry.resident is not resident):
            return
        del self._entries[uid]
        self._upkeep.forget(uid)
        if entry.building is not asyncio.current_task():
            entry.building.cancel()

    def preload(self, collections: Iterable[Collection]) -> None:
        """Bring collections into memory in this order, as long as there is room."""
        wanted = 0
        for collection in collections:
            wanted += self.estimate_bytes(collection)
            if wanted > self._limits.memory_bytes:
                break
            if collection.uid not in self._entries:
                self._build(collection, is_preloaded=True)

    async def run(self) -> None:
        """Tend what is in memory until cancelled."""
        while True:
            await asyncio.sleep(_ROUND_S)
            self._expire()
            self._make_room(0, besides="")
            for uid, entry in list(self._entries.items()):
                while (
                    self._entries.get(uid) is entry
                    and entry.resident.last_load is not None
                    and await self._upkeep.tend(entry.resident)
                ):
                    pass
            asked = [entry for entry in self._entries.values() if not entry.is_preloaded]
            self._last_used.remember((entry.resident.collection, entry.last_use) for entry in asked)
            await asyncio.to_thread(self._last_used.write)

    def _expire(self) -> None:
        oldest = time.time() - self._limits.ttl_s
        for uid, entry in list(self._entries.items()):
            if entry.last_use < oldest and entry.resident.last_load is not None:
                _log.info("collection leaves memory", collection=uid, why="nobody asked it")
                self._drop(uid)

    async def close(self) -> None:
        """Stop building and tending; waits for the end of what runs."""
        self._is_closed = True
        tasks = [entry.building for entry in self._entries.values()] + list(self._followers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for entry in list(self._entries.values()):
            await entry.resident.close()
        await self._upkeep.close()
