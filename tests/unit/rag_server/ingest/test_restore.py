"""Restoring a kept revision: which one, as what, and beside others who use the same bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.domain.collection import Collection
from rag_server.domain.job import Job, JobState
from rag_server.domain.outbox import OutboxEntry
from rag_server.domain.priority import Priority
from rag_server.errors import NotFound, ResourceExhausted
from rag_server.ingest.submit import Submitter
from rag_server.ingest.sweep import Sweeper
from rag_server.metadata.database import Database
from rag_server.testing.memory_chunk_store import MemoryChunkStore
from tests.unit.rag_server.ingest.conftest import TENANT, Change, Submit

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
Restore = Callable[..., Awaitable[Job]]


@pytest.fixture
async def first(submit: Submit, change: Change) -> Job:
    """Make two revisions of `doc` and return the job of the first."""
    jobs = []
    for data in (b"one", b"two"):
        jobs.append(await submit(data=data))
        await change(jobs[-1], JobState.SUCCEEDED)
    return jobs[0]


@pytest.fixture
def restore(database: Database) -> Restore:
    async def restore(revision: int | None = None, *, max_waiting: int = 10) -> Job:
        async with database.transaction() as tx:
            return await Submitter(max_waiting).restore(
                tx,
                TENANT,
                "books",
                "doc",
                revision,
                request_id="r-1",
                priority=Priority.BULK,
                trace_parent=TRACE,
            )

    return restore


@pytest.mark.parametrize("revision", [None, 1])
async def test_restore_records_a_job_with_the_bytes_of_the_revision(
    database: Database, first: Job, restore: Restore, revision: int | None
) -> None:
    job = await restore(revision)
    assert (job.state, job.document_revision, job.request_id) == (JobState.QUEUED, 3, "r-1")
    assert (job.content_sha256, job.document, job.chunking) == (
        first.content_sha256,
        first.document,
        first.chunking,
    )
    async with database.transaction() as tx:
        (entry,) = await tx.outbox.next_batch(Priority.BULK, after_tenant="", limit=9)
    assert entry == OutboxEntry(TENANT, job.id, Priority.BULK, TRACE)


async def test_restore_without_an_earlier_revision_is_not_found(
    submit: Submit, change: Change, restore: Restore
) -> None:
    await change(await submit(), JobState.SUCCEEDED)
    for revision in (None, 7):
        with pytest.raises(NotFound) as caught:
            await restore(revision)
        assert caught.value.reason == "REVISION_NOT_FOUND"


async def test_restore_is_refused_while_too_many_jobs_wait(
    first: Job, submit: Submit, restore: Restore
) -> None:
    await submit("other")
    with pytest.raises(ResourceExhausted) as caught:
        await restore(max_waiting=1)
    assert caught.value.reason == "JOB_QUEUE_FULL"


async def test_restore_beside_an_ingest_of_the_same_bytes_waits_for_it(
    database: Database, books: Collection, first: Job, restore: Restore
) -> None:
    """Both lock the bytes, then the collection: the other way round they would wait for each other."""
    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, first.content_sha256, 3)
        restoring = asyncio.create_task(restore())
        await asyncio.sleep(0.2)
        assert not restoring.done()
        await tx.collections.lock(TENANT, books.uid)
    assert (await restoring).content_sha256 == first.content_sha256


async def test_restore_beside_the_deletion_of_the_document_does_not_bring_it_back(
    database: Database, blobs: LocalBlobStore, books: Collection, first: Job, restore: Restore
) -> None:
    async with database.transaction() as tx:
        await tx.documents.delete(TENANT, books.uid, "doc")
        restoring = asyncio.create_task(restore(1))
        await asyncio.sleep(0.2)
        assert not restoring.done()
    with pytest.raises(NotFound):
        await restoring
    await Sweeper(database, MemoryChunkStore(), blobs).sweep()
    assert await blobs.size(TENANT, first.content_sha256) is None
    async with database.snapshot() as tx:
        assert await tx.jobs.count_unfinished(TENANT) == 0
