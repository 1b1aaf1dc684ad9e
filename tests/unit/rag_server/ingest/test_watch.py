from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from rag_server.domain.job import Job, JobState
from rag_server.errors import InvalidArgument, NotFound, Unavailable
from rag_server.ingest.watch import JobFeed, watch_job
from rag_server.metadata.database import Database, Transaction
from tests.databases import ONLY_SQLITE
from tests.unit.rag_server.ingest.conftest import TENANT, Change, Submit

STAGES = (JobState.FETCHING, JobState.PARSING, JobState.CHUNKING, JobState.EMBEDDING, JobState.INDEXING)


@pytest.fixture
def feed(database: Database) -> JobFeed:
    feed = JobFeed()
    database.on_jobs_changed(feed.notify)
    return feed


async def collect(watch: AsyncIterator[Job]) -> list[tuple[int, JobState]]:
    return [(job.sequence, job.state) async for job in watch]


async def test_watch_starts_with_the_job_as_it_is(database: Database, feed: JobFeed, submit: Submit) -> None:
    job = await submit()
    watch = watch_job(database, feed, TENANT, job.id, after_sequence=None)
    assert await anext(watch) == job
    await watch.aclose()


async def test_watch_sends_each_change_as_it_happens_and_ends_with_the_last(
    database: Database, feed: JobFeed, submit: Submit, change: Change
) -> None:
    job = await submit()
    watch = watch_job(database, feed, TENANT, job.id, after_sequence=None)
    assert (await anext(watch)).state is JobState.QUEUED
    for state in STAGES:
        waiting = asyncio.ensure_future(anext(watch))
        await change(job, state)
        assert (await waiting).state is state
    await change(job, JobState.SUCCEEDED)
    assert await collect(watch) == [(7, JobState.SUCCEEDED)]


async def test_watch_slow_reader_misses_no_change(
    database: Database, feed: JobFeed, submit: Submit, change: Change
) -> None:
    job = await submit()
    watch = watch_job(database, feed, TENANT, job.id, after_sequence=None)
    await anext(watch)
    for state in STAGES:
        await change(job, state)
    await change(job, JobState.FAILED)
    assert await collect(watch) == [
        *((sequence, state) for sequence, state in enumerate(STAGES, start=2)),
        (7, JobState.FAILED),
    ]


async def test_watch_of_more_changes_than_one_read_returns_misses_none(
    database: Database, feed: JobFeed, submit: Submit, change: Change
) -> None:
    job = await submit()
    async with database.transaction() as tx:
        for _ in range(150):
            await tx.jobs.change(TENANT, job.id, state=JobState.EMBEDDING)
    await change(job, JobState.CANCELLED)
    changes = await collect(watch_job(database, feed, TENANT, job.id, after_sequence=0))
    assert [sequence for sequence, _ in changes] == list(range(1, 153))


@pytest.mark.parametrize("cursor", range(4))
async def test_watch_resumes_after_its_cursor(
    database: Database, feed: JobFeed, submit: Submit, change: Change, cursor: int
) -> None:
    job = await submit()
    await change(job, JobState.FETCHING)
    await change(job, JobState.FAILED)
    changes = await collect(watch_job(database, feed, TENANT, job.id, after_sequence=cursor))
    assert [sequence for sequence, _ in changes] == [1, 2, 3][cursor:]


async def test_watch_cursor_of_a_change_to_come_is_refused(
    database: Database, feed: JobFeed, submit: Submit
) -> None:
    job = await submit()
    with pytest.raises(InvalidArgument) as caught:
        await collect(watch_job(database, feed, TENANT, job.id, after_sequence=job.sequence + 1))
    assert caught.value.reason == "INVALID_CURSOR"


async def test_watch_of_a_finished_job_sends_its_final_state(
    database: Database, feed: JobFeed, submit: Submit, change: Change
) -> None:
    job = await submit()
    await change(job, JobState.CANCELLED)
    watch = watch_job(database, feed, TENANT, job.id, after_sequence=None)
    assert await collect(watch) == [(2, JobState.CANCELLED)]


@pytest.mark.parametrize("tenant", [TENANT, "other"])
async def test_watch_of_an_unknown_job_is_not_found(
    database: Database, feed: JobFeed, submit: Submit, tenant: str
) -> None:
    job_id = (await submit()).id if tenant == "other" else "nope"
    with pytest.raises(NotFound):
        await collect(watch_job(database, feed, tenant, job_id, after_sequence=None))


async def test_watch_ends_unavailable_when_the_server_stops(
    database: Database, feed: JobFeed, submit: Submit
) -> None:
    job = await submit()
    watch = watch_job(database, feed, TENANT, job.id, after_sequence=None)
    await anext(watch)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    feed.close()
    with pytest.raises(Unavailable) as caught:
        await waiting
    assert caught.value.reason == "SERVER_STOPPING"


async def test_watch_begun_while_the_server_stops_sends_what_there_is_first(
    database: Database, feed: JobFeed, submit: Submit
) -> None:
    job = await submit()
    feed.close()
    watch = watch_job(database, feed, TENANT, job.id, after_sequence=None)
    assert (await anext(watch)).sequence == 1
    with pytest.raises(Unavailable):
        await anext(watch)


async def test_watchers_of_one_job_each_see_all(
    database: Database, feed: JobFeed, submit: Submit, change: Change
) -> None:
    job = await submit()
    watchers = [
        asyncio.create_task(collect(watch_job(database, feed, TENANT, job.id, after_sequence=0)))
        for _ in range(3)
    ]
    await change(job, JobState.FETCHING)
    await change(job, JobState.FAILED)
    assert {len(await each) for each in watchers} == {3}


async def test_feed_forgets_watchers_that_left(database: Database, feed: JobFeed, submit: Submit) -> None:
    job = await submit()
    watch = watch_job(database, feed, TENANT, job.id, after_sequence=None)
    await anext(watch)
    assert len(feed._watchers) == 1
    await watch.aclose()
    assert len(feed._watchers) == 0
    feed.notify([job])
    assert len(feed._watchers) == 0


@ONLY_SQLITE
async def test_watchers_that_wait_ask_the_store_nothing(
    database: Database, feed: JobFeed, submit: Submit, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    snapshot = database.snapshot

    def counted() -> AbstractAsyncContextManager[Transaction]:
        nonlocal looks
        looks += 1
        return snapshot()

    watched, other = await submit("watched"), await submit("other")
    watches = [watch_job(database, feed, TENANT, watched.id, after_sequence=None) for _ in range(200)]
    for watch in watches:
        await anext(watch)
    monkeypatch.setattr(database, "snapshot", counted)
    waiting = [asyncio.ensure_future(anext(watch)) for watch in watches]
    for state in STAGES:
        await change(other, state)
    assert looks == 0
    await change(watched, STAGES[0])
    assert {(await each).state for each in waiting} == {STAGES[0]}
    assert looks == len(watches)
    for watch in watches:
        await watch.aclose()
