"""Idempotency, sweeps and blobs: what keeps calls repeatable and the stores in agreement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from rag_server.domain.collection import Collection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.domain.sweep import SweepKind
from rag_server.errors import AlreadyExists, Unavailable
from rag_server.metadata import Database

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
Publish = Callable[..., Awaitable[Job]]


async def test_replay_same_body_returns_the_answer(database: Database) -> None:
    async with database.transaction() as tx:
        assert await tx.idempotency.replay(TENANT, "Create", "id-1", "h") is None
        await tx.idempotency.put(TENANT, "Create", "id-1", body_hash="h", response=b"\x00answer")
    async with database.snapshot() as tx:
        assert await tx.idempotency.replay(TENANT, "Create", "id-1", "h") == b"\x00answer"
        assert await tx.idempotency.get(TENANT, "Delete", "id-1") is None


async def test_replay_other_body_already_exists(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.idempotency.put(TENANT, "Create", "id-1", body_hash="h", response=b"1")
        with pytest.raises(AlreadyExists) as raised:
            await tx.idempotency.replay(TENANT, "Create", "id-1", "other")
    assert raised.value.reason == "REQUEST_ID_REUSED"


async def test_put_twice_keeps_the_first(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.idempotency.put(TENANT, "Create", "id-1", body_hash="h", response=b"1")
    async with database.transaction() as tx:
        with pytest.raises(Unavailable) as same_body:
            await tx.idempotency.put(TENANT, "Create", "id-1", body_hash="h", response=b"2")
        with pytest.raises(AlreadyExists) as other_body:
            await tx.idempotency.put(TENANT, "Create", "id-1", body_hash="other", response=b"2")
    assert same_body.value.reason == "REQUEST_IN_PROGRESS"
    assert other_body.value.reason == "REQUEST_ID_REUSED"
    async with database.snapshot() as tx:
        record = await tx.idempotency.get(TENANT, "Create", "id-1")
    assert record is not None
    assert record.response == b"1"


async def test_put_same_call_many_times_at_once_is_carried_out_once(database: Database) -> None:
    async def call(number: int) -> bytes:
        async with database.transaction() as tx:
            answered = await tx.idempotency.replay(TENANT, "Create", "id-1", "h")
            if answered is not None:
                return answered
            response = str(number).encode()
            await tx.idempotency.put(TENANT, "Create", "id-1", body_hash="h", response=response)
            return response

    async def call_again_when_told_to(number: int) -> bytes:
        try:
            return await call(number)
        except Unavailable:  # REQUEST_IN_PROGRESS, where several transactions are open at once
            return await call(number)

    answers = await asyncio.gather(*(call_again_when_told_to(number) for number in range(10)))
    assert len(set(answers)) == 1


async def test_blob_locked_by_who_refers_to_it_makes_the_sweeper_wait_and_see_the_reference(
    database: Database, collection: Collection
) -> None:
    sha256 = "a" * 64
    is_asking = asyncio.Event()

    async def ask_as_the_sweeper() -> bool:
        is_asking.set()
        async with database.transaction() as tx:
            await tx.blobs.lock(TENANT, sha256)
            return await tx.blobs.is_referenced(TENANT, sha256)

    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, sha256, 5)
        asked = asyncio.create_task(ask_as_the_sweeper())
        await is_asking.wait()
        await asyncio.sleep(0.05)
        assert not asked.done()
        await tx.jobs.create(
            TENANT,
            collection.uid,
            NewDocument("papers", "doc"),
            chunking=TokenChunking(),
            content_sha256=sha256,
        )
    assert await asked


async def test_expire_forgets_only_the_older(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.idempotency.put(TENANT, "m", "old", body_hash="h", response=b"")
        old = await tx.idempotency.get(TENANT, "m", "old")
        assert old is not None
        await tx.idempotency.put(TENANT, "m", "new", body_hash="h", response=b"")
        await tx.idempotency.expire(old.create_time)
        assert await tx.idempotency.get(TENANT, "m", "old") is not None
        await tx.idempotency.expire(datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC))
        assert await tx.idempotency.get(TENANT, "m", "old") is None
        assert await tx.idempotency.get(TENANT, "m", "new") is not None


async def test_sweeps_come_in_order_and_leave_once_done(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.sweeps.add_collection(TENANT, "c" * 32)
        await tx.sweeps.add_blob(TENANT, "b" * 64)
        await tx.sweeps.add_revisions(TENANT, "c" * 32, "doc", revision=3)
    async with database.transaction() as tx:
        first, second = await tx.sweeps.next_batch(limit=2)
        (third,) = await tx.sweeps.next_batch(limit=2, after_id=second.id)
        await tx.sweeps.done(TENANT, second.id)
        await tx.sweeps.done(TENANT, second.id)
    async with database.snapshot() as tx:
        assert await tx.sweeps.next_batch(limit=10) == [first, third]
    assert [sweep.kind for sweep in (first, second, third)] == [
        SweepKind.COLLECTION,
        SweepKind.BLOB,
        SweepKind.DOCUMENT_REVISIONS,
    ]


@pytest.mark.parametrize("bounds", [{}, {"revision": 1, "before_revision": 2}])
async def test_sweep_of_revisions_without_one_bound_is_a_mistake(
    database: Database, bounds: dict[str, int]
) -> None:
    async with database.transaction() as tx:
        with pytest.raises(ValueError, match="before_revision"):
            await tx.sweeps.add_revisions(TENANT, "c" * 32, "doc", **bounds)


async def test_blob_is_referenced_by_unfinished_and_by_failed_job_and_by_document(
    database: Database, submit: Submit, publish: Publish
) -> None:
    sha256 = "a" * 64

    async def is_referenced() -> bool:
        async with database.snapshot() as tx:
            return await tx.blobs.is_referenced(TENANT, sha256)

    assert not await is_referenced()
    job = await submit()
    assert await is_referenced()
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FAILED)
    assert await is_referenced()
    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, sha256, 120)
        await tx.revival.revive(TENANT, job.id)
        await tx.jobs.change(TENANT, job.id, state=JobState.CANCELLED)
    assert not await is_referenced()
    await publish(await submit())
    assert await is_referenced()


async def test_blob_add_is_idempotent_and_remove_forgets(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, "a" * 64, 5)
        await tx.blobs.add(TENANT, "a" * 64, 5)
        assert await tx.blobs.size(TENANT, "a" * 64) == 5
        await tx.blobs.remove(TENANT, "a" * 64)
        await tx.blobs.remove(TENANT, "a" * 64)
        assert await tx.blobs.size(TENANT, "a" * 64) is None
