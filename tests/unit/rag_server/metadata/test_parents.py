from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rag_server.domain.collection import Collection
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobError, JobKind, JobProgress, JobState, Waiting
from rag_server.domain.job_items import MAX_ITEM_ERRORS, ItemError
from rag_server.domain.lease import LeaseLost
from rag_server.domain.priority import Priority
from rag_server.errors import FailedPrecondition
from rag_server.metadata import Database
from rag_server.metadata.parents import ItemOutcome, item_key
from tests.unit.rag_server.metadata.conftest import TENANT, Publish, Submit

BROKEN = JobError("DOCUMENT_CORRUPT", "the document is damaged")
Find = Callable[..., Awaitable[Job]]


@pytest.fixture
async def archive(database: Database, submit: Submit) -> Job:
    """Return a job that was found to be an archive."""
    job = await submit("box.zip", sha256="c" * 64)
    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, "c" * 64, 9)
        return await tx.jobs.change(TENANT, job.id, state=JobState.PARSING, kind=JobKind.ARCHIVE)


@pytest.fixture
def find(database: Database, archive: Job) -> Find:
    """Have the archive find a file; return the file's job."""

    async def find(name: str, *, parent: Job = archive) -> Job:
        async with database.transaction() as tx:
            await tx.parents.add_child(
                TENANT,
                parent.id,
                name,
                NewDocument("papers", f"box.zip/{name}"),
                content_sha256="d" * 64,
                size_bytes=5,
            )
            (child,) = await tx.jobs.list(TENANT, document_id=f"box.zip/{name}", limit=2)
        return child

    return find


async def job_of(database: Database, job: Job) -> Job:
    async with database.snapshot() as tx:
        return await tx.jobs.get(TENANT, job.id)


async def change(database: Database, job: Job, **changes: Any) -> Job:
    async with database.transaction() as tx:
        return await tx.jobs.change(TENANT, job.id, **changes)


async def all_found(database: Database, job: Job) -> Job:
    async with database.transaction() as tx:
        return await tx.parents.all_found(TENANT, job.id)


async def test_child_is_a_queued_job_of_its_parent_with_the_priority_of_bulk(
    database: Database, archive: Job, find: Find
) -> None:
    child = await find("a.txt")
    assert (child.state, child.parent_id, child.kind) == (JobState.QUEUED, archive.id, JobKind.DOCUMENT)
    assert child.chunking == archive.chunking
    assert (await job_of(database, archive)).progress.found_item_count == 1
    async with database.transaction() as tx:
        batch = await tx.outbox.next_batch(Priority.BULK, after_tenant="", limit=9)
        assert [entry.job_id for entry in batch] == [child.id]
        assert [each.id for each in await tx.jobs.list(TENANT, parent_id=archive.id, limit=9)] == [child.id]


async def test_item_that_was_taken_up_is_not_taken_up_again(
    database: Database, archive: Job, find: Find
) -> None:
    first = await find("a.txt")
    assert (await find("a.txt")).id == first.id
    for _ in range(2):
        async with database.transaction() as tx:
            await tx.parents.record_item(TENANT, archive.id, "b.txt", ItemOutcome.FAILED, BROKEN)
    job = await job_of(database, archive)
    assert (job.progress.found_item_count, job.progress.failed_item_count) == (2, 1)
    assert len(job.item_errors) == 1
    async with database.snapshot() as tx:
        assert await tx.parents.taken_items(TENANT, archive.id) == {item_key("a.txt"), item_key("b.txt")}


async def test_parent_ends_with_the_last_of_its_jobs(
    database: Database, archive: Job, find: Find, publish: Publish
) -> None:
    children = [await find("a.txt"), await find("b.txt")]
    waiting = await all_found(database, archive)
    assert (waiting.state, waiting.waiting) == (JobState.INDEXING, Waiting.FOR_CHILDREN)
    await publish(children[0])
    assert (await job_of(database, archive)).state is JobState.INDEXING
    await publish(children[1])
    ended = await job_of(database, archive)
    assert (ended.state, ended.waiting, ended.progress.done_item_count) == (
        JobState.SUCCEEDED,
        Waiting.FOR_NOTHING,
        2,
    )
    assert ended.end_time is not None
    async with database.snapshot() as tx:
        assert not await tx.blobs.is_referenced(TENANT, "c" * 64)
        assert await tx.sweeps.is_blob_due(TENANT, "c" * 64)
        assert await tx.parents.taken_items(TENANT, archive.id) == frozenset()


async def test_parent_whose_jobs_ended_first_ends_when_all_is_found(
    database: Database, archive: Job, find: Find, publish: Publish
) -> None:
    await publish(await find("a.txt"))
    assert (await job_of(database, archive)).state is JobState.PARSING
    assert (await all_found(database, archive)).state is JobState.SUCCEEDED


async def test_parent_with_a_failed_job_succeeds_in_part_and_says_why(
    database: Database, archive: Job, find: Find, publish: Publish
) -> None:
    good, bad, dropped = [await find(name) for name in ("a.txt", "b.pdf", "c.txt")]
    await all_found(database, archive)
    await change(database, bad, state=JobState.FAILED, error=BROKEN)
    async with database.transaction() as tx:
        await tx.jobs.request_cancel(TENANT, dropped.id)
    await publish(good)
    ended = await job_of(database, archive)
    assert ended.state is JobState.PARTIALLY_SUCCEEDED
    assert ended.progress == JobProgress(
        found_item_count=3, done_item_count=1, failed_item_count=1, skipped_item_count=1
    )
    assert ended.item_errors == (ItemError("b.pdf", BROKEN.reason, BROKEN.message),)


async def test_parent_of_which_nothing_succeeded_fails_and_keeps_its_bytes_for_a_retry(
    database: Database, archive: Job, find: Find
) -> None:
    bad = await find("b.pdf")
    await all_found(database, archive)
    await change(database, bad, state=JobState.FAILED, error=BROKEN)
    ended = await job_of(database, archive)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert (ended.error.reason, ended.error.metadata) == (
        "NO_ITEM_SUCCEEDED",
        {"failed": "1", "skipped": "0"},
    )
    async with database.transaction() as tx:
        assert await tx.blobs.is_referenced(TENANT, "c" * 64)
        revived = await tx.revival.revive(TENANT, archive.id)
    assert (revived.state, revived.kind, revived.item_errors) == (JobState.QUEUED, JobKind.DOCUMENT, ())
    assert revived.progress == JobProgress(size_bytes=9)


async def test_errors_of_items_are_kept_up_to_a_bound_and_counted_beyond(
    database: Database, archive: Job
) -> None:
    long = JobError("DOCUMENT_CORRUPT", "x" * 9999, {str(number): "y" for number in range(99)})
    async with database.transaction() as tx:
        for number in range(MAX_ITEM_ERRORS + 3):
            await tx.parents.record_item(TENANT, archive.id, f"{number}" * 400, ItemOutcome.FAILED, long)
    job = await job_of(database, archive)
    assert job.progress.failed_item_count == MAX_ITEM_ERRORS + 3
    assert len(job.item_errors) == MAX_ITEM_ERRORS
    kept = job.item_errors[0]
    assert (len(kept.message), len(kept.metadata)) == (500, 10)
    assert all(len(each.item) <= 500 for each in job.item_errors)


async def test_events_of_a_parent_carry_no_errors_of_items(database: Database, archive: Job) -> None:
    async with database.transaction() as tx:
        await tx.parents.record_item(TENANT, archive.id, "b", ItemOutcome.FAILED, BROKEN)
        events = await tx.jobs.events_after(TENANT, archive.id, 0)
    assert [event.progress.failed_item_count for event in events] == [0, 0, 1]


async def test_cancel_of_a_waiting_parent_cancels_its_jobs_and_ends_with_the_last(
    database: Database, archive: Job, find: Find, publish: Publish
) -> None:
    done, running, queued = [await find(name) for name in ("a.txt", "b.txt", "c.txt")]
    await publish(done)
    await change(database, running, state=JobState.EMBEDDING)
    await all_found(database, archive)
    async with database.transaction() as tx:
        asked = await tx.jobs.request_cancel(TENANT, archive.id)
    assert asked.cancel_requested
    assert (await job_of(database, queued)).state is JobState.CANCELLED
    assert (await job_of(database, running)).cancel_requested
    assert not (await job_of(database, archive)).state.is_final
    await change(database, running, state=JobState.CANCELLED)
    assert (await job_of(database, archive)).state is JobState.CANCELLED
    assert (await job_of(database, done)).state is JobState.SUCCEEDED


async def test_parent_that_fails_takes_its_unfinished_jobs_with_it(
    database: Database, archive: Job, find: Find
) -> None:
    queued, running = [await find(name) for name in ("a.txt", "b.txt")]
    await change(database, running, state=JobState.EMBEDDING)
    await change(database, archive, state=JobState.FAILED, error=BROKEN)
    assert (await job_of(database, queued)).state is JobState.CANCELLED
    assert (await job_of(database, running)).cancel_requested
    await change(database, running, state=JobState.CANCELLED)
    after = await job_of(database, archive)
    assert (after.state, after.error) == (JobState.FAILED, BROKEN)


async def test_archive_in_an_archive_ends_the_outer_one(
    database: Database, archive: Job, find: Find, publish: Publish
) -> None:
    inner = await find("inner.zip")
    await all_found(database, archive)
    await change(database, inner, state=JobState.PARSING, kind=JobKind.ARCHIVE)
    good, bad = await find("x.txt", parent=inner), await find("y.txt", parent=inner)
    await all_found(database, inner)
    await publish(good)
    await change(database, bad, state=JobState.FAILED, error=BROKEN)
    assert (await job_of(database, inner)).state is JobState.PARTIALLY_SUCCEEDED
    outer = await job_of(database, archive)
    # all that the outer one had was the inner one, which is not whole
    assert outer.state is JobState.FAILED
    assert outer.item_errors == (ItemError("inner.zip", BROKEN.reason, BROKEN.message),)


async def test_failed_job_that_is_revived_counts_as_on_its_way_again(
    database: Database, archive: Job, find: Find, publish: Publish
) -> None:
    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, "d" * 64, 5)
    bad, open_one = await find("b.txt"), await find("c.txt")
    await all_found(database, archive)
    await change(database, bad, state=JobState.FAILED, error=BROKEN)
    async with database.transaction() as tx:
        await tx.revival.revive(TENANT, bad.id)
    again = await job_of(database, archive)
    assert (again.progress.failed_item_count, again.item_errors) == (0, ())
    await publish(open_one)
    assert (await job_of(database, archive)).state is JobState.INDEXING
    await publish(bad)
    assert (await job_of(database, archive)).state is JobState.SUCCEEDED


async def test_job_revived_after_the_end_of_its_parent_leaves_that_as_it_is(
    database: Database, archive: Job, find: Find, publish: Publish
) -> None:
    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, "d" * 64, 5)
    good, bad = await find("a.txt"), await find("b.txt")
    await all_found(database, archive)
    await publish(good)
    await change(database, bad, state=JobState.FAILED, error=BROKEN)
    ended = await job_of(database, archive)
    async with database.transaction() as tx:
        await tx.revival.revive(TENANT, bad.id)
    await publish(bad)
    assert await job_of(database, archive) == ended


async def test_waiting_parent_is_neither_published_nor_counted_as_stranded(
    database: Database, archive: Job, find: Find
) -> None:
    child = await find("a.txt")
    waiting = await all_found(database, archive)
    async with database.transaction() as tx:
        for priority in Priority:
            await tx.outbox.remove(await tx.outbox.next_batch(priority, after_tenant="", limit=9))
        assert await tx.outbox.add_unfinished() == 1
        (entry,) = await tx.outbox.next_batch(Priority.BULK, after_tenant="", limit=9)
        assert entry.job_id == child.id
        await tx.outbox.remove([entry])
        assert await tx.outbox.add_stranded(waiting.update_time.replace(year=2027)) == 1


async def test_delete_of_the_collection_ends_parent_and_children(
    database: Database, collection: Collection, archive: Job, find: Find
) -> None:
    child = await find("a.txt")
    await all_found(database, archive)
    async with database.transaction() as tx:
        await tx.collections.delete(TENANT, collection.id)
    assert {(await job_of(database, each)).state for each in (archive, child)} == {JobState.CANCELLED}


async def test_items_are_taken_only_under_the_lease(database: Database, archive: Job) -> None:
    async with database.transaction() as tx:
        lease = await tx.leases.acquire(TENANT, archive.id, owner="a", ttl_s=0.001)
        assert lease is not None
    async with database.transaction() as tx:
        assert await tx.leases.acquire(TENANT, archive.id, owner="b", ttl_s=60.0) is not None

    async def take() -> None:
        async with database.transaction() as tx:
            tx.jobs.fence(TENANT, archive.id, lease.token)
            await tx.parents.record_item(TENANT, archive.id, "x", ItemOutcome.SKIPPED)

    with pytest.raises(LeaseLost):
        await take()
    assert (await job_of(database, archive)).progress.found_item_count == 0


async def test_parent_that_has_ended_takes_no_more_items(database: Database, archive: Job) -> None:
    await change(database, archive, state=JobState.CANCELLED)
    async with database.transaction() as tx:
        with pytest.raises(FailedPrecondition) as raised:
            await tx.parents.record_item(TENANT, archive.id, "x", ItemOutcome.SKIPPED)
    assert raised.value.reason == "JOB_ALREADY_FINISHED"


async def test_bytes_of_an_item_that_was_taken_with_others_are_swept(
    database: Database, archive: Job, find: Find
) -> None:
    child = await find("a.txt")
    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, "e" * 64, 7)
        await tx.parents.add_child(
            TENANT, archive.id, "a.txt", child.document, content_sha256="e" * 64, size_bytes=7
        )
        assert await tx.sweeps.is_blob_due(TENANT, "e" * 64)
        assert not await tx.blobs.is_referenced(TENANT, "e" * 64)
    assert (await job_of(database, archive)).progress.found_item_count == 1


async def test_document_that_is_searchable_in_part_is_done(
    database: Database, archive: Job, find: Find
) -> None:
    child = await find("table.csv")
    await all_found(database, archive)
    async with database.transaction() as tx:
        row = await tx.jobs.unfinished_row(TENANT, child.id, is_locked=True)
        row.state = JobState.PARTIALLY_SUCCEEDED.value
        await tx.jobs.record_change(row)
    ended = await job_of(database, archive)
    assert (ended.state, ended.progress.done_item_count) == (JobState.SUCCEEDED, 1)
