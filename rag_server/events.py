"""Between this process and the others: what was committed here is told, what was told is taken note of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from rag_server.backends.protocols import EventBus, ServerEvents
from rag_server.catalog import CollectionDirectory
from rag_server.domain.change import CollectionChange
from rag_server.domain.job import Job
from rag_server.errors import RagError
from rag_server.ingest.watch import JobFeed
from rag_server.metadata.database import Database
from rag_server.query.resident.pool import ResidentPool

log = structlog.get_logger()

_AFTER_FAILURE_S = 1.0


def tell_others(database: Database, bus: EventBus) -> None:
    """Have every commit of this process told to the others."""

    def tell_jobs(jobs: Sequence[Job]) -> None:
        bus.publish(ServerEvents(jobs=[(job.tenant_id, job.id) for job in jobs]))

    def tell_collections(changes: Sequence[CollectionChange]) -> None:
        bus.publish(ServerEvents(collections=changes))

    database.on_jobs_changed(tell_jobs)
    database.on_collections_changed(tell_collections)


class Follower:
    """Keeps what a server remembers in step with the commits of the other processes.

    No event is needed for that to be right in the end: whenever some may have been missed, everything that is
    remembered is compared with the database.
    """

    def __init__(
        self,
        database: Database,
        bus: EventBus,
        feed: JobFeed,
        directory: CollectionDirectory,
        pool: ResidentPool,
    ) -> None:
        self._database = database
        self._feed = feed
        self._directory = directory
        self._pool = pool
        self._gap = asyncio.Event()
        bus.subscribe(self._take, self._gap.set)

    async def run(self) -> None:
        """Close gaps until cancelled."""
        while True:
            await self._gap.wait()
            self._gap.clear()
            try:
                await self.catch_up()
            except RagError as error:
                log.warning("could not catch up with other servers", reason=error.reason)
                self._gap.set()
                await asyncio.sleep(_AFTER_FAILURE_S)

    async def catch_up(self) -> None:
        """Compare with the database: every collection that is remembered, and every job that is watched."""
        self._directory.forget()
        known = self._directory.known() | self._pool.known()
        async with self._database.snapshot() as tx:
            changes = await tx.collections.changes_of(known)
        self._announce(changes)
        self._feed.notify_all()

    def _take(self, events: ServerEvents) -> None:
        self._feed.notify_keys(events.jobs)
        if events.collections:
            self._announce(events.collections)

    def _announce(self, changes: Sequence[CollectionChange]) -> None:
        # the directory first: whoever hears of a revision by it may ask the pool for it
        self._directory.announce(changes)
        self._pool.announce(changes)
