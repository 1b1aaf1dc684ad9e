from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from rag_server.domain.collection import Collection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobError, JobProgress, JobState
from rag_server.domain.priority import Priority
from rag_server.domain.sweep import SweepKind
from rag_server.errors import FailedPrecondition, NotFound
from rag_server.metadata import Database

TENANT, SHA256 = "acme", "a" * 64
LATER = datetime(2100, 1, 1, tzinfo=UTC)
Submit = Callable[..., Awaitable[Job]]


async def fail(database: Database, job: Job) -> None:
    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, SHA256, 120)
        await tx.jobs.change(TENANT, job.id, attempt_count=5, progress=JobProgress(120, chunk_count=7))
        await tx.jobs.change(TENANT, job.id, state=JobState.FAILED, error=JobError("X", "x"))


async def test_revive_makes_a_failed_job_wait_again_for_a_revision_of_its_own(
    database: Database, submit: Submit
) -> None:
    job = await submit()
    await fail(database, job)
    async with database.transaction() as tx:
        revived = await tx.revival.revive(TENANT, job.id, trace_parent="00-t")
        (entry,) = await tx.outbox.next_batch(Priority.INTERACTIVE, after_tenant="", limit=9)
    assert (revived.state, revived.error, revived.attempt_count) == (JobState.QUEUED, None, 0)
    assert (revived.start_time, revived.end_time) == (None, None)
    assert revived.progress == JobProgress(size_bytes=120)
    # the sweep of what the first life wrote, revision 1, must not meet what the second writes
    assert (job.document_revision, revived.document_revision) == (1, 2)
    assert (entry.job_id, entry.trace_parent) == (job.id, "00-t")
    async with database.snapshot() as tx:
        states = [event.state for event in await tx.jobs.events_after(TENANT, job.id, 0)]
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED, JobState.QUEUED]


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.PARSING, JobState.CANCELLED])
async def test_revive_job_that_has_not_failed_is_refused(
    database: Database, submit: Submit, state: JobState
) -> None:
    job = await submit()
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=state)
        with pytest.raises(FailedPrecondition) as raised:
            await tx.revival.revive(TENANT, job.id)
    assert raised.value.reason == "JOB_NOT_FAILED"
    assert raised.value.metadata["state"] == state


async def test_forget_gives_up_the_bytes_of_old_failures_and_with_them_their_revival(
    database: Database, submit: Submit
) -> None:
    job, waiting = await submit("old"), await submit("waiting", sha256="b" * 64)
    await fail(database, job)
    async with database.transaction() as tx:
        assert await tx.revival.forget(datetime(2020, 1, 1, tzinfo=UTC)) == 0
        assert await tx.revival.forget(LATER) == 1
        assert await tx.revival.forget(LATER) == 0
        sweeps = await tx.sweeps.next_batch(limit=9)
        assert [sweep.sha256 for sweep in sweeps if sweep.kind is SweepKind.BLOB] == [SHA256]
        assert not await tx.blobs.is_referenced(TENANT, SHA256)
        assert await tx.blobs.is_referenced(TENANT, "b" * 64)
        with pytest.raises(FailedPrecondition) as raised:
            await tx.revival.revive(TENANT, job.id)
        assert (await tx.jobs.get(TENANT, waiting.id)).content_sha256 == "b" * 64
    assert raised.value.reason == "JOB_CONTENT_GONE"


async def test_revive_without_its_bytes_fetches_its_uri_again(
    database: Database, collection: Collection
) -> None:
    async with database.transaction() as tx:
        job = await tx.jobs.create(
            TENANT,
            collection.uid,
            NewDocument("papers", "page"),
            chunking=TokenChunking(),
            fetch_uri="https://example.org/",
        )
        await tx.jobs.change(TENANT, job.id, content_sha256="c" * 64)
        await tx.jobs.change(TENANT, job.id, state=JobState.FAILED)
        await tx.revival.forget(LATER)
        revived = await tx.revival.revive(TENANT, job.id)
    assert (revived.content_sha256, revived.fetch_uri) == ("", "https://example.org/")


async def test_revive_after_the_collection_went_is_not_found(database: Database, submit: Submit) -> None:
    job = await submit()
    await fail(database, job)
    async with database.transaction() as tx:
        await tx.collections.delete(TENANT, "papers")
        assert not await tx.blobs.is_referenced(TENANT, SHA256)
        with pytest.raises(NotFound):
            await tx.revival.revive(TENANT, job.id)


async def test_delete_of_a_document_gives_up_the_bytes_of_its_failed_jobs(
    database: Database, collection: Collection, submit: Submit, publish: Callable[..., Awaitable[Job]]
) -> None:
    await publish(await submit(sha256="d" * 64), sha256="d" * 64)
    failed = await submit()
    await fail(database, failed)
    async with database.transaction() as tx:
        await tx.documents.delete(TENANT, collection.uid, "doc")
        assert not await tx.blobs.is_referenced(TENANT, SHA256)
        with pytest.raises(FailedPrecondition):
            await tx.revival.revive(TENANT, failed.id)
