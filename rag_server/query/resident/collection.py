"""One collection in memory: loaded once, then kept up by increments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import structlog

from rag_server.domain.collection import Collection
from rag_server.domain.document import DocumentHead
from rag_server.errors import Unavailable
from rag_server.query.resident.builder import SegmentBuilder
from rag_server.query.resident.merging import rows_alive, with_small_merged
from rag_server.query.resident.segment import Segment
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.source import CollectionSource, Increment
from rag_server.query.resident.state import Part, State

_log = structlog.get_logger(__name__)
_ROUNDS: Final = 5
_RETRY_S: Final = 1.0
"""How long after it was found to be down the store is not asked again."""


class LoadSource(StrEnum):
    """What a collection in memory was made from."""

    STORE = "store"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Load:
    """How a collection came into memory."""

    source: LoadSource
    revision: int
    """That the source had; what came later was read as increments."""
    duration_s: float
    end_time: float
    """Seconds since the epoch."""


class ResidentCollection:
    """Holds the current state. Changes are made one at a time; readers take the state as it is."""

    def __init__(
        self, collection: Collection, source: CollectionSource, snapshots: SnapshotFolder | None
    ) -> None:
        self.collection: Final = collection
        self._source = source
        self._snapshots = snapshots
        self._state = State.empty()
        self._load: Load | None = None
        self._writing = asyncio.Lock()
        self._catching_up: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._hidden_until = 0
        """Of the revisions after the state's, the last one whose deletions it has."""

    @property
    def state(self) -> State:
        """What readers see now."""
        return self._state

    @property
    def last_load(self) -> Load | None:
        """How it came into memory; None: it cannot be searched yet."""
        return self._load

    async def load(self) -> None:
        """Bring the collection into memory: from a snapshot that is still of use, else from the store.

        A snapshot serves even while the store is down, as far as it goes. Raises `NotFound`, `Unavailable`.
        """
        started = time.perf_counter()
        async with self._writing:
            state = None
            if self._snapshots is not None:
                state = await asyncio.to_thread(self._snapshots.open, self.collection)
            source, revision = LoadSource.SNAPSHOT, state.revision if state is not None else 0
            if state is not None:
                state = await self._caught_up_or_stale(state)
            if state is None:
                source = LoadSource.STORE
                revision, state = await self._read_all()
            self._state = state
        self._load = Load(source, revision, time.perf_counter() - started, time.time())
        _log.info(
            "collection in memory",
            collection=self.collection.uid,
            source=source.value,
            chunks=self._state.alive_count,
            revision=self._state.revision,
            seconds=round(self._load.duration_s, 3),
        )

    async def catch_up(self, revision: int) -> bool:
        """See to it that the state has reached `revision`; return False where that cannot be read now.

        Documents that were deleted are left out even then. Raises `NotFound` when the collection is gone.
        """
        for _ in range(2):  # what others began may have begun before `revision` was made
            if not self._has_news(revision):
                break
            if self._catching_up is None:
                self._catching_up = asyncio.create_task(self._catch_up(), name="resident-catch-up")
                self._catching_up.add_done_callback(self._end_catching_up)
            # for all who wait for it: it goes on when one of them leaves
            await asyncio.shield(self._catching_up)
        return self._state.revision >= revision

    async def exchange(self, old: Sequence[Part], new: Segment) -> None:
        """Put `new`, made of the rows that lived in `old`, in the place of these parts' segments.

        Rows that have died since then are dead in it.
        """
        async with self._writing:
            alive = await asyncio.to_thread(rows_alive, self._state, old)
            self._state = self._state.with_merged([part.segment.id for part in old], new, alive)

    async def renew(self, segment: Segment) -> None:
        """Put a segment in the place of the one with its id: the same rows, kept in another way."""
        async with self._writing:
            self._state = self._state.with_renewed(segment)

    async def close(self) -> None:
        """Stop catching up; waits for the end of it."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.wait([self._catching_up])

    def _has_news(self, revision: int) -> bool:
        """Return whether there is something to be done to reach `revision`."""
        if self._state.revision >= revision:
            return False
        return self._hidden_until < revision or time.monotonic() >= self._retry_at

    async def _catch_up(self) -> None:
        async with self._writing:
            state = await self._caught_up_or_stale(self._state)
            if state is None:
                _, state = await self._read_all()
            self._state = state

    def _end_catching_up(self, task: asyncio.Task[None]) -> None:
        self._catching_up = None
        if not task.cancelled():
            task.exception()  # seen, even where nobody waits any more

    async def _caught_up_or_stale(self, state: State) -> State | None:
        """Return `state` as of now, or, where that cannot be read, without what was deleted since.

        None when the changes since then are no longer known.
        """
        seen, deleted_ids = state.revision, frozenset[str]()
        for _ in range(_ROUNDS):
            increment = await self._source.increment(self.collection, state.revision)
            if increment is None:
                return None
            if increment.revision == state.revision:
                return state
            is_same, seen, deleted_ids = increment.revision == seen, increment.revision, increment.deleted_ids
            builder = await self._read(state, increment)
            if builder is None:
                break
            # passages may be missing because a document was replaced while it was read: then look again
            if is_same or not builder.missing_count:
                self._report_missing(builder.missing_count)
                segment = await asyncio.to_thread(builder.build)
                return await asyncio.to_thread(_advance, state, increment, segment)
        self._hidden_until = seen
        return await asyncio.to_thread(state.without_documents, deleted_ids)

    async def _read(self, state: State, increment: Increment) -> SegmentBuilder | None:
        """Read what is visible of the changed documents; None: the store is down."""
        if time.monotonic() < self._retry_at:
            return None
        builder = await self._builder(increment.heads, state)
        try:
            async with aclosing(self._source.read(self.collection, increment.heads)) as batches:
                async for batch in batches:
                    await asyncio.to_thread(builder.add, batch)
        except Unavailable as error:
            self._retry_at = time.monotonic() + _RETRY_S
            _log.warning(
                "collection in memory is behind", collection=self.collection.uid, reason=error.reason
            )
            return None
        return builder

    async def _read_all(self) -> tuple[int, State]:
        """Return the collection as it is now, and before it the revision from which on it was increments."""
        contents = await self._source.contents(self.collection)
        state = State.empty(contents.revision)
        builder = await self._builder(contents.heads, state)
        async with aclosing(self._source.scan(self.collection)) as batches:
            async for batch in batches:
                await asyncio.to_thread(builder.add, batch)
        missing_count = builder.missing_count
        segment = await asyncio.to_thread(builder.build)
        state = await asyncio.to_thread(state.with_segment, segment)
        latest = await self._caught_up_or_stale(state)
        if latest is None:
            raise Unavailable("VECTOR_STORE_UNAVAILABLE", "documents change faster than they can be read")
        if latest.revision == contents.revision:
            self._report_missing(missing_count)
        return contents.revision, latest

    async def _builder(self, heads: Sequence[DocumentHead], state: State) -> SegmentBuilder:
        return await asyncio.to_thread(SegmentBuilder, heads, self.collection.dimension, state.vocabulary)

    def _report_missing(self, count: int) -> None:
        if count:
            _log.error("the store lacks passages", collection=self.collection.uid, count=count)


def _advance(state: State, increment: Increment, segment: Segment) -> State:
    changed = state.without_documents(increment.changed_ids).with_segment(segment)
    return with_small_merged(replace(changed, revision=increment.revision))
