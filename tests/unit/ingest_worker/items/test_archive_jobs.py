"""Archives as jobs, with rows in memory: attempts that break, and what the next one makes of it."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from ingest_worker.cancelled import JobCancelled
from ingest_worker.dead_letters import DeadLetterRecorder
from ingest_worker.items.archive import ArchiveExpansion
from ingest_worker.items.hand_in import ItemDesk
from ingest_worker.pipeline import IngestPipeline
from rag_server.backends.protocols import JobMessage, StagedBlob
from rag_server.domain.archive import ArchiveBudget
from rag_server.domain.job import Job, JobKind, JobState, Waiting
from rag_server.errors import Unavailable
from rag_server.ingest.outbox import OutboxRelay
from tests.faults.polling import until
from tests.unit.ingest_worker.conftest import TENANT, Workshop


def zipped(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.txt", f"File {number} speaks of herons.")
    return buffer.getvalue()


class FlakyBlobs:
    """A blob store that takes `good` items, and then is down for a moment."""

    def __init__(self, workshop: Workshop, good: int) -> None:
        self._blobs = workshop.blobs
        self.left = good

    async def stage(self, tenant_id: str, data: AsyncIterator[bytes], *, limit_bytes: int) -> StagedBlob:
        self.left -= 1
        if self.left == -1:
            raise Unavailable("BLOB_STORE_UNAVAILABLE", "down")
        return await self._blobs.stage(tenant_id, data, limit_bytes=limit_bytes)


def with_archives(workshop: Workshop, blobs: Any = None) -> IngestPipeline:
    desk = ItemDesk(blobs or workshop.blobs, 1_000_000)
    return replace(workshop.pipeline, archives=ArchiveExpansion(workshop.database, desk, ArchiveBudget()))


async def children(workshop: Workshop, job: Job) -> list[Job]:
    async with workshop.database.snapshot() as tx:
        return await tx.jobs.list(TENANT, parent_id=job.id, limit=100)


async def test_archive_waits_for_its_files_without_a_lease(workshop: Workshop) -> None:
    job = await workshop.accept(zipped(3), "box.zip", metadata={"year": 2026})
    left = await workshop.run(job, with_archives(workshop))
    assert (left.state, left.kind, left.waiting) == (
        JobState.INDEXING,
        JobKind.ARCHIVE,
        Waiting.FOR_CHILDREN,
    )
    below = await children(workshop, job)
    assert {each.document.document_id for each in below} == {f"box.zip/{number}.txt" for number in range(3)}
    assert {each.document.metadata["year"] for each in below} == {2026}
    async with workshop.database.snapshot() as tx:
        assert await tx.leases.remaining_s(TENANT, job.id) == 0


async def test_archive_whose_store_fails_in_the_middle_goes_on_where_it_stood(workshop: Workshop) -> None:
    job = await workshop.accept(zipped(5), "box.zip")
    pipeline = with_archives(workshop, FlakyBlobs(workshop, good=3))
    with pytest.raises(Unavailable):
        await workshop.run(job, pipeline)
    before = {each.id for each in await children(workshop, job)}
    assert len(before) == 3
    left = await workshop.run(await workshop.job(job.id), pipeline)
    assert left.progress.found_item_count == 5
    after = {each.id for each in await children(workshop, job)}
    assert len(after) == 5
    assert before < after


async def test_archive_that_is_cancelled_makes_no_more_jobs(workshop: Workshop) -> None:
    job = await workshop.accept(zipped(5), "box.zip")
    pipeline = with_archives(workshop, FlakyBlobs(workshop, good=2))
    with pytest.raises(Unavailable):
        await workshop.run(job, pipeline)
    async with workshop.database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, cancel_requested=True)
    with pytest.raises(JobCancelled):
        await workshop.run(await workshop.job(job.id), pipeline)
    assert len(await children(workshop, job)) == 2


async def test_consumer_takes_an_archive_and_its_files_to_their_end(workshop: Workshop) -> None:
    job = await workshop.accept(zipped(4), "box.zip")
    made = replace(workshop, pipeline=with_archives(workshop))
    consuming = asyncio.create_task(made.consumer(concurrency=1).run())

    relay = OutboxRelay(workshop.database, workshop.queue, poll_s=0.1, stranded_after_s=900.0)
    relaying = asyncio.create_task(relay.run())
    try:
        ended = await workshop.end_of(job.id)
    finally:
        for task in (relaying, consuming):
            task.cancel()
        await asyncio.gather(relaying, consuming, return_exceptions=True)
    assert (ended.state, ended.progress.done_item_count) == (JobState.SUCCEEDED, 4)
    assert ended.attempt_count == 1
    assert {row.document_id for row in workshop.visible()} == {f"box.zip/{number}.txt" for number in range(4)}
    await workshop.sweeper.sweep()
    async with workshop.database.snapshot() as tx:
        assert await tx.blobs.size(TENANT, job.content_sha256) is None


async def test_message_of_a_job_that_waits_is_acknowledged_and_changes_nothing(workshop: Workshop) -> None:
    job = await workshop.accept(zipped(2), "box.zip")
    left = await workshop.run(job, with_archives(workshop))
    consumer = workshop.consumer()
    consuming = asyncio.create_task(consumer.run())
    async with asyncio.timeout(10):
        await until(lambda: not workshop.queue.held)
        assert await consumer.drain(5.0)
        await consuming
    assert await workshop.job(job.id) == left


async def test_dead_letter_of_a_job_that_waits_leaves_it_waiting(workshop: Workshop) -> None:
    job = await workshop.accept(zipped(2), "box.zip")
    left = await workshop.run(job, with_archives(workshop))
    recorded = asyncio.Event()
    recorder = DeadLetterRecorder(workshop.queue, workshop.database, recorded.set)
    recording = asyncio.create_task(recorder.run())
    workshop.queue.put_dead(JobMessage(TENANT, job.id))
    try:
        await asyncio.wait_for(recorded.wait(), 10)
    finally:
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
    assert await workshop.job(job.id) == left
    async with workshop.database.snapshot() as tx:
        assert await tx.leases.remaining_s(TENANT, job.id) == 0
