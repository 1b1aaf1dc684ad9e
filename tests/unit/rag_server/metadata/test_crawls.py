from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from rag_server.domain.collection import Collection, NewCollection, TokenChunking
from rag_server.domain.crawl import CrawledPage, CrawlRequest
from rag_server.domain.job import Job, JobKind, JobState, Waiting
from rag_server.domain.priority import Priority
from rag_server.errors import NotFound, ResourceExhausted
from rag_server.metadata import Database, crawls
from tests.unit.rag_server.metadata.conftest import TENANT, Publish, Submit

REQUEST = CrawlRequest(
    ("http://a.example/",), include=("/docs/*",), max_pages=7, delete_gone=True, metadata={"year": 2026}
)
PAGE = CrawledPage(
    url="http://a.example/x",
    document_id="doc",
    etag='"1"',
    last_modified="yesterday",
    digest="a" * 64,
    depth=2,
    canonical_url="http://a.example/y",
    links=("http://a.example/z",),
    options_digest="o",
)
Crawl = Callable[..., Awaitable[Job]]


@pytest.fixture
def crawl(database: Database, collection: Collection) -> Crawl:
    """Accept a crawl."""

    async def crawl(of: Collection = collection) -> Job:
        async with database.transaction() as tx:
            return await tx.crawls.create(TENANT, of.uid, of.id, REQUEST, chunking=TokenChunking())

    return crawl


async def job_of(database: Database, job: Job) -> Job:
    async with database.snapshot() as tx:
        return await tx.jobs.get(TENANT, job.id)


async def end(database: Database, job: Job) -> None:
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FAILED)


async def waiting_jobs(database: Database) -> set[str]:
    async with database.transaction() as tx:
        return {each.job_id for each in await tx.outbox.next_batch(Priority.BULK, after_tenant="", limit=9)}


async def test_crawl_is_kept_as_it_was_asked_for(database: Database, crawl: Crawl) -> None:
    job = await crawl()
    assert await job_of(database, job) == job
    assert (job.kind, job.crawl, job.document.document_id) == (JobKind.CRAWL, REQUEST, "")
    assert (job.state, job.waiting, job.document_revision) == (JobState.QUEUED, Waiting.FOR_NOTHING, 0)


async def test_second_crawl_waits_and_starts_when_the_first_has_ended(
    database: Database, crawl: Crawl
) -> None:
    first, second, third = [await crawl() for _ in range(3)]
    assert [each.waiting for each in (first, second, third)] == [
        Waiting.FOR_NOTHING,
        Waiting.FOR_CRAWL,
        Waiting.FOR_CRAWL,
    ]
    assert await waiting_jobs(database) == {first.id}
    await end(database, first)
    assert [(await job_of(database, each)).waiting for each in (second, third)] == [
        Waiting.FOR_NOTHING,
        Waiting.FOR_CRAWL,
    ]
    assert await waiting_jobs(database) == {second.id}
    async with database.snapshot() as tx:
        events = await tx.jobs.events_after(TENANT, second.id, 0)
    assert [event.waiting for event in events] == [Waiting.FOR_CRAWL, Waiting.FOR_NOTHING]


async def test_waiting_crawl_that_is_cancelled_lets_nobody_pass(database: Database, crawl: Crawl) -> None:
    first, second, third = [await crawl() for _ in range(3)]
    async with database.transaction() as tx:
        cancelled = await tx.jobs.request_cancel(TENANT, second.id)
    assert (cancelled.state, cancelled.waiting) == (JobState.CANCELLED, Waiting.FOR_NOTHING)
    assert (await job_of(database, third)).waiting is Waiting.FOR_CRAWL
    await end(database, first)
    assert (await job_of(database, third)).waiting is Waiting.FOR_NOTHING


async def test_crawl_of_another_collection_does_not_wait(database: Database, crawl: Crawl) -> None:
    async with database.transaction() as tx:
        other = await tx.collections.create(TENANT, NewCollection("others"), embedding_model="m", dimension=4)
    await crawl()
    assert (await crawl(other)).waiting is Waiting.FOR_NOTHING


async def test_crawl_accepted_while_the_last_one_ends_is_started(database: Database, crawl: Crawl) -> None:
    for _ in range(10):
        first = await crawl()
        _, second = await asyncio.gather(end(database, first), crawl())
        after = await job_of(database, second)
        assert after.waiting is Waiting.FOR_NOTHING
        assert after.id in await waiting_jobs(database)
        await end(database, after)


async def test_crawls_accepted_at_once_take_turns(database: Database, crawl: Crawl) -> None:
    jobs = await asyncio.gather(*(crawl() for _ in range(5)))
    running = []
    while left := [job for job in [await job_of(database, each) for each in jobs] if not job.state.is_final]:
        (started,) = [job for job in left if job.waiting is Waiting.FOR_NOTHING]
        running.append(started.id)
        await end(database, started)
    assert sorted(running) == sorted(job.id for job in jobs)


async def test_revived_crawl_waits_for_another_and_begins_anew(database: Database, crawl: Crawl) -> None:
    first = await crawl()
    async with database.transaction() as tx:
        await tx.crawls.save_state(TENANT, first.id, b"half way")
    await end(database, first)
    second = await crawl()
    async with database.transaction() as tx:
        revived = await tx.revival.revive(TENANT, first.id)
        assert await tx.crawls.state(TENANT, first.id) is None
    assert (revived.state, revived.waiting) == (JobState.QUEUED, Waiting.FOR_CRAWL)
    await end(database, second)
    assert (await job_of(database, first)).waiting is Waiting.FOR_NOTHING


async def test_state_is_kept_until_all_is_found(database: Database, crawl: Crawl) -> None:
    job = await crawl()
    for state in (b"one", b"two"):
        async with database.transaction() as tx:
            await tx.crawls.save_state(TENANT, job.id, state)
    async with database.transaction() as tx:
        assert await tx.crawls.state(TENANT, job.id) == b"two"
        await tx.parents.all_found(TENANT, job.id)
        assert await tx.crawls.state(TENANT, job.id) is None


async def test_page_is_remembered_with_whether_its_document_has_that_content(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    async with database.transaction() as tx:
        await tx.crawls.put_page(TENANT, collection.uid, replace(PAGE, etag="older"))
        await tx.crawls.put_page(TENANT, collection.uid, PAGE)
        assert await tx.crawls.pages(TENANT, collection.uid) == [(PAGE, False)]
    await publish(await submit())
    async with database.snapshot() as tx:
        assert await tx.crawls.pages(TENANT, collection.uid) == [(PAGE, True)]
    await publish(await submit(sha256="b" * 64), sha256="b" * 64)
    async with database.snapshot() as tx:
        assert await tx.crawls.pages(TENANT, collection.uid) == [(PAGE, False)]


async def test_page_that_is_forgotten_names_its_document_once(
    database: Database, collection: Collection
) -> None:
    async with database.transaction() as tx:
        await tx.crawls.put_page(TENANT, collection.uid, PAGE)
        assert await tx.crawls.is_page_of(TENANT, collection.uid, "doc")
        assert await tx.crawls.forget_page(TENANT, collection.uid, PAGE.url) == "doc"
        assert await tx.crawls.forget_page(TENANT, collection.uid, PAGE.url) is None
        assert not await tx.crawls.is_page_of(TENANT, collection.uid, "doc")


async def test_pages_go_with_their_collection(database: Database, collection: Collection) -> None:
    async with database.transaction() as tx:
        await tx.crawls.put_page(TENANT, collection.uid, PAGE)
        await tx.collections.delete(TENANT, collection.id)
        assert await tx.crawls.pages(TENANT, collection.uid) == []
        with pytest.raises(NotFound):
            await tx.crawls.put_page(TENANT, collection.uid, PAGE)


async def test_crawls_that_wait_are_bounded(
    database: Database, crawl: Crawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawls, "MAX_WAITING", 2)
    first, *_ = [await crawl() for _ in range(3)]
    with pytest.raises(ResourceExhausted) as raised:
        await crawl()
    assert (raised.value.reason, raised.value.is_retryable) == ("JOB_QUEUE_FULL", True)
    await end(database, first)
    assert (await crawl()).waiting is Waiting.FOR_CRAWL
