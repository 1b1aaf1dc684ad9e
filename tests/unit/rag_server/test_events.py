from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rag_server.backends.in_process_events import EventHub, InProcessEventBus
from rag_server.catalog import CollectionDirectory
from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.domain.publication import Publication
from rag_server.errors import NotFound
from rag_server.events import Follower, tell_others
from rag_server.ingest.watch import JobFeed, watch_job
from rag_server.metadata.database import Database

TENANT = "acme"
PATIENCE_S = 30.0


@dataclass
class Pool:
    """Stands where the pool of collections in memory stands: notes what it is told."""

    told: list[CollectionChange] = field(default_factory=list)
    uids: set[str] = field(default_factory=set)

    def known(self) -> set[str]:
        return self.uids

    def announce(self, changes: list[CollectionChange]) -> None:
        self.told += changes


@dataclass
class Replica:
    """What one server of several has of its own."""

    database: Database
    bus: InProcessEventBus
    feed: JobFeed
    directory: CollectionDirectory
    pool: Pool
    follower: Follower


@asynccontextmanager
async def replica(url: str, hub: EventHub) -> AsyncIterator[Replica]:
    database = await Database.open(url)
    bus, feed, directory, pool = InProcessEventBus(hub), JobFeed(), CollectionDirectory(database), Pool()
    database.on_jobs_changed(feed.notify)
    tell_others(database, bus)
    follower = Follower(database, bus, feed, directory, pool)  # type: ignore[arg-type]  # all it asks of a pool
    task = asyncio.create_task(follower.run())
    yield Replica(database, bus, feed, directory, pool, follower)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await database.close()


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    url, hub = f"sqlite+aiosqlite:///{tmp_path / 'metadata.db'}", EventHub()
    async with replica(url, hub) as one, replica(url, hub) as other:
        yield one, other


async def create(server: Replica, name: str = "papers") -> str:
    async with server.database.transaction() as tx:
        made = await tx.collections.create(TENANT, NewCollection(name), embedding_model="m", dimension=4)
    return made.uid


async def accept(server: Replica, uid: str) -> Job:
    async with server.database.transaction() as tx:
        return await tx.jobs.create(TENANT, uid, NewDocument("papers", "doc"), chunking=TokenChunking())


async def publish(server: Replica, job: Job) -> Job:
    async with server.database.transaction() as tx:
        return await tx.documents.publish(
            TENANT, job.id, Publication("", "text/plain", "a" * 64, 9, "en", 1, 3)
        )


async def test_watch_on_another_replica_sees_each_change_when_it_happens(
    replicas: tuple[Replica, Replica],
) -> None:
    here, there = replicas
    job = await accept(here, await create(here))
    seen: list[JobState] = []
    changed = asyncio.Event()

    async def watch() -> None:
        async for each in watch_job(there.database, there.feed, TENANT, job.id, after_sequence=None):
            seen.append(each.state)
            changed.set()

    watching = asyncio.create_task(watch())
    for state in (JobState.QUEUED, JobState.FETCHING, JobState.PARSING):
        if state is not JobState.QUEUED:
            async with here.database.transaction() as tx:
                await tx.jobs.change(TENANT, job.id, state=state)
        async with asyncio.timeout(PATIENCE_S):
            await changed.wait()  # nothing but the event of the other replica wakes the watcher
        changed.clear()
        assert seen[-1] is state
    await publish(here, job)
    async with asyncio.timeout(PATIENCE_S):
        await watching
    assert seen[-1] is JobState.SUCCEEDED
    assert len(seen) == 4


async def test_commit_of_one_replica_is_known_to_the_other(replicas: tuple[Replica, Replica]) -> None:
    here, there = replicas
    uid = await create(here)
    (before,) = await there.directory.get_collections(TENANT, ["papers"])
    await publish(here, await accept(here, uid))
    (after,) = await there.directory.get_collections(TENANT, ["papers"])
    assert after.revision == before.revision + 1
    assert there.directory.head_revision(uid) == after.revision
    assert CollectionChange(TENANT, "papers", uid, after.revision) in there.pool.told


async def test_gap_is_closed_by_reading_everything_that_is_remembered(
    replicas: tuple[Replica, Replica],
) -> None:
    here, there = replicas
    uid, gone_uid = await create(here), await create(here, "gone")
    await there.directory.get_collections(TENANT, ["papers", "gone"])
    there.pool.uids = {gone_uid}
    here.database._job_listeners.clear()  # from here on nothing is told
    here.database._collection_listeners.clear()
    await publish(here, await accept(here, uid))
    async with here.database.transaction() as tx:
        await tx.collections.delete(TENANT, "gone")
    there.pool.told.clear()
    (stale,) = await there.directory.get_collections(TENANT, ["papers"])

    await there.follower.catch_up()

    (fresh,) = await there.directory.get_collections(TENANT, ["papers"])
    assert fresh.revision > stale.revision
    assert there.directory.head_revision(uid) == fresh.revision
    with pytest.raises(NotFound):
        await there.directory.get_collections(TENANT, ["gone"])
    assert CollectionChange("", "", gone_uid, None) in there.pool.told


async def test_gap_wakes_the_watchers_of_jobs(replicas: tuple[Replica, Replica]) -> None:
    here, there = replicas
    job = await accept(here, await create(here))
    with there.feed.subscribe(TENANT, job.id) as changed:
        await there.follower.catch_up()
        assert changed.is_set()
