from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.domain.collection import Collection
from rag_server.domain.job import JobState
from rag_server.errors import NotFound, Unavailable
from rag_server.ingest import sweep as sweep_module
from rag_server.ingest.sweep import Sweeper
from rag_server.metadata.database import Database
from tests.unit.rag_server.ingest.conftest import TENANT, Change, Submit


class Chunks:
    """Notes what it is asked to remove; fails as often as it is told to."""

    def __init__(self) -> None:
        self.removed: list[Any] = []
        self.failures = 0
        self.done = asyncio.Event()

    async def drop_collection(self, collection_uid: str) -> None:
        self._remove(collection_uid)

    async def delete_document(
        self,
        tenant_id: str,
        collection_uid: str,
        document_id: str,
        *,
        revision: int | None = None,
        before_revision: int | None = None,
    ) -> None:
        self._remove((tenant_id, collection_uid, document_id, revision, before_revision))

    def _remove(self, what: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("VECTOR_STORE_UNAVAILABLE", "m")
        self.removed.append(what)
        self.done.set()


@pytest.fixture
def chunks() -> Chunks:
    return Chunks()


@pytest.fixture
def sweeper(database: Database, chunks: Chunks, blobs: LocalBlobStore) -> Sweeper:
    return Sweeper(database, chunks, blobs)  # type: ignore[arg-type]  # all that a sweep asks of it


async def due(database: Database) -> int:
    async with database.snapshot() as tx:
        return len(await tx.sweeps.next_batch(limit=1000))


async def test_sweep_with_nothing_due_does_nothing(sweeper: Sweeper, chunks: Chunks) -> None:
    assert await sweeper.sweep() == 0
    assert chunks.removed == []


async def test_sweep_of_a_failed_job_removes_its_revision_and_leaves_its_bytes(
    sweeper: Sweeper, chunks: Chunks, books: Collection, blobs: LocalBlobStore, submit: Submit, change: Change
) -> None:
    job = await submit("a")
    await change(job, JobState.FAILED)
    assert await sweeper.sweep() == 1
    assert chunks.removed == [(TENANT, books.uid, "a", 1, None)]
    assert await sweeper.remove_unreferenced_blobs() == 0
    assert await blobs.read(TENANT, job.content_sha256) == b"some text"


async def test_sweep_of_a_cancelled_job_removes_its_revision_and_bytes(
    database: Database,
    sweeper: Sweeper,
    chunks: Chunks,
    books: Collection,
    blobs: LocalBlobStore,
    submit: Submit,
    change: Change,
) -> None:
    job = await submit("a")
    await change(job, JobState.CANCELLED)
    assert await sweeper.sweep() == 2
    assert chunks.removed == [(TENANT, books.uid, "a", 1, None)]
    with pytest.raises(NotFound):
        await blobs.read(TENANT, job.content_sha256)
    async with database.snapshot() as tx:
        assert await tx.blobs.size(TENANT, job.content_sha256) is None
    assert await due(database) == 0


async def test_sweep_of_a_replaced_document_removes_older_revisions_only(
    sweeper: Sweeper,
    chunks: Chunks,
    books: Collection,
    blobs: LocalBlobStore,
    submit: Submit,
    change: Change,
) -> None:
    first = await submit("a", b"old")
    await change(first, JobState.SUCCEEDED)
    second = await submit("a", b"new")
    await change(second, JobState.SUCCEEDED)
    await sweeper.sweep()
    assert chunks.removed == [(TENANT, books.uid, "a", None, 2)]
    assert await blobs.read(TENANT, second.content_sha256) == b"new"
    assert await blobs.read(TENANT, first.content_sha256) == b"old"  # it can be restored


async def test_sweep_of_a_revision_that_is_not_kept_removes_its_bytes(
    sweeper: Sweeper, blobs: LocalBlobStore, submit: Submit, change: Change
) -> None:
    first = await submit("a", b"old")
    await change(first, JobState.SUCCEEDED, kept_revisions=1)
    second = await submit("a", b"new")
    await change(second, JobState.SUCCEEDED, kept_revisions=1)
    await sweeper.sweep()
    assert await blobs.read(TENANT, second.content_sha256) == b"new"
    with pytest.raises(NotFound):
        await blobs.read(TENANT, first.content_sha256)


async def test_sweep_of_a_deleted_collection_drops_it_and_its_bytes(
    database: Database,
    sweeper: Sweeper,
    chunks: Chunks,
    books: Collection,
    blobs: LocalBlobStore,
    submit: Submit,
    change: Change,
) -> None:
    job = await submit("a")
    await change(job, JobState.SUCCEEDED)
    async with database.transaction() as tx:
        await tx.collections.delete(TENANT, "books")
    await sweeper.sweep()
    assert chunks.removed == [books.uid]
    with pytest.raises(NotFound):
        await blobs.read(TENANT, job.content_sha256)


@pytest.mark.parametrize("needed_by", [JobState.QUEUED, JobState.SUCCEEDED])
async def test_sweep_leaves_bytes_that_something_needs_again(
    database: Database,
    sweeper: Sweeper,
    blobs: LocalBlobStore,
    submit: Submit,
    change: Change,
    needed_by: JobState,
) -> None:
    await change(await submit("a", b"same"), JobState.FAILED)
    other = await submit("b", b"same")
    if needed_by is JobState.SUCCEEDED:
        await change(other, JobState.SUCCEEDED)
    await sweeper.sweep()
    assert await blobs.read(TENANT, other.content_sha256) == b"same"
    async with database.snapshot() as tx:
        assert await tx.blobs.size(TENANT, other.content_sha256) == 4
    assert await due(database) == 0


async def test_sweep_of_bytes_and_a_job_accepted_at_once_end_with_the_bytes_there(
    sweeper: Sweeper, blobs: LocalBlobStore, submit: Submit, change: Change
) -> None:
    for _ in range(10):
        await change(await submit("a", b"same"), JobState.FAILED)
        job, _ = await asyncio.gather(submit("b", b"same"), sweeper.sweep())
        assert await blobs.read(TENANT, job.content_sha256) == b"same"
        await change(job, JobState.FAILED)


async def test_sweep_of_many_is_done_in_batches_oldest_first(
    database: Database, sweeper: Sweeper, chunks: Chunks, books: Collection
) -> None:
    async with database.transaction() as tx:
        for number in range(250):
            await tx.sweeps.add_revisions(TENANT, books.uid, f"{number:03}", revision=1)
    assert await sweeper.sweep() == 250
    assert [removed[2] for removed in chunks.removed] == [f"{number:03}" for number in range(250)]


async def test_sweep_that_fails_stays_due_and_does_not_hold_up_the_others(
    database: Database, sweeper: Sweeper, chunks: Chunks, submit: Submit, change: Change
) -> None:
    await change(await submit("a"), JobState.FAILED)
    chunks.failures = 1
    with pytest.raises(Unavailable):
        await sweeper.sweep()
    assert await due(database) == 1  # the chunks; the bytes are gone
    await sweeper.sweep()
    assert await due(database) == 0


async def test_sweeper_removes_bytes_that_nothing_refers_to(
    sweeper: Sweeper, submit: Submit, blobs: LocalBlobStore
) -> None:
    job = await submit("a")
    stray = await blobs.stage("acme", _one(b"kept, but the job was never committed"), limit_bytes=1000)
    await stray.keep()
    assert await sweeper.remove_unreferenced_blobs() == 1
    assert [each async for each in blobs.list_all()] == [(TENANT, job.content_sha256)]
    assert await sweeper.remove_unreferenced_blobs() == 0


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_sweeper_tries_again_after_a_failure_and_when_it_is_woken(
    sweeper: Sweeper,
    chunks: Chunks,
    submit: Submit,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_module, "_PAUSE_S", 0.01)
    chunks.failures = 2
    await change(await submit("a"), JobState.FAILED)
    with capture_logs() as logs:
        task = asyncio.create_task(sweeper.run())
        await asyncio.wait_for(chunks.done.wait(), 30)
    reasons = [each["reason"] for each in logs if "reason" in each]
    assert reasons == ["VECTOR_STORE_UNAVAILABLE"] * 2
    monkeypatch.setattr(sweep_module, "_PAUSE_S", 3600)
    chunks.done.clear()
    await change(await submit("b"), JobState.FAILED)
    sweeper.wake()
    await asyncio.wait_for(chunks.done.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
