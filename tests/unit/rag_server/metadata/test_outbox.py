from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from rag_server.domain.collection import Collection, NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.domain.priority import Priority
from rag_server.metadata import Database

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
Accept = Callable[..., Awaitable[list[str]]]
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def accept(database: Database) -> Accept:
    """Accept jobs of one tenant, in a collection that is made with the first."""
    collections: dict[str, Collection] = {}

    async def accept(tenant_id: str, count: int, priority: Priority = Priority.BULK) -> list[str]:
        async with database.transaction() as tx:
            if tenant_id not in collections:
                collections[tenant_id] = await tx.collections.create(
                    tenant_id, NewCollection("papers"), embedding_model="m", dimension=4
                )
            jobs = [
                await tx.jobs.create(
                    tenant_id,
                    collections[tenant_id].uid,
                    NewDocument("papers", f"d{number}"),
                    chunking=TokenChunking(),
                    priority=priority,
                    trace_parent="00-trace",
                )
                for number in range(count)
            ]
        return [job.id for job in jobs]

    return accept


async def taken(
    database: Database, limit: int, after: str = "", priority: Priority = Priority.BULK
) -> list[str]:
    """Take what comes next; return its tenants."""
    async with database.transaction() as tx:
        batch = await tx.outbox.next_batch(priority, after_tenant=after, limit=limit)
        await tx.outbox.remove(batch)
    return [entry.tenant_id for entry in batch]


async def test_job_and_outbox_row_are_written_together_or_not_at_all(
    database: Database, submit: Submit, collection: Collection
) -> None:
    job = await submit()

    async def fail_after_accepting() -> None:
        async with database.transaction() as tx:
            other = NewDocument("papers", "other")
            await tx.jobs.create(TENANT, collection.uid, other, chunking=TokenChunking())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_accepting()
    async with database.transaction() as tx:
        assert await tx.outbox.waiting(up_to=10) == 1
        (entry,) = await tx.outbox.next_batch(Priority.INTERACTIVE, after_tenant="", limit=10)
        assert (entry.tenant_id, entry.job_id, entry.priority) == (TENANT, job.id, Priority.INTERACTIVE)
        assert await tx.outbox.is_empty(Priority.BULK)
        assert not await tx.outbox.is_empty(Priority.INTERACTIVE)


async def test_next_batch_takes_the_tenants_by_turns_and_each_ones_oldest_first(
    database: Database, accept: Accept
) -> None:
    noisy = await accept("noisy", 50)
    await accept("quiet-1", 1)
    await accept("quiet-2", 2)
    async with database.transaction() as tx:
        batch = await tx.outbox.next_batch(Priority.BULK, after_tenant="", limit=6)
    assert [entry.tenant_id for entry in batch] == ["noisy", "quiet-1", "quiet-2", "noisy", "quiet-2"]
    assert [entry.job_id for entry in batch if entry.tenant_id == "noisy"] == noisy[:2]
    assert {entry.trace_parent for entry in batch} == {"00-trace"}


async def test_next_batch_of_one_at_a_time_serves_each_tenant_in_turn(
    database: Database, accept: Accept
) -> None:
    await accept("a", 9)
    await accept("b", 2)
    await accept("c", 9)
    order: list[str] = []
    for _ in range(7):
        order += await taken(database, 1, after=order[-1] if order else "")
    assert order == ["a", "b", "c", "a", "b", "c", "a"]


async def test_next_batch_is_not_held_up_by_hundreds_of_jobs_of_another(
    database: Database, accept: Accept
) -> None:
    await accept("noisy", 300)
    await accept("quiet", 1)
    assert "quiet" in await taken(database, 2, after="noisy")
    assert set(await taken(database, 8, after="noisy")) == {"noisy"}


async def test_next_batch_keeps_priorities_apart(database: Database, accept: Accept) -> None:
    await accept("a", 3, Priority.BULK)
    await accept("a", 1, Priority.INTERACTIVE)
    assert await taken(database, 9, priority=Priority.INTERACTIVE) == ["a"]
    assert len(await taken(database, 9)) == 3


async def test_add_of_a_job_that_waits_adds_nothing(database: Database, submit: Submit) -> None:
    job = await submit()
    async with database.transaction() as tx:
        assert not await tx.outbox.add(TENANT, job.id, Priority.BULK)
        assert await tx.outbox.waiting(up_to=10) == 1
        await tx.outbox.remove(await tx.outbox.next_batch(Priority.INTERACTIVE, after_tenant="", limit=9))
        assert await tx.outbox.add(TENANT, job.id, Priority.BULK)


async def test_waiting_counts_no_further_than_asked(database: Database, accept: Accept) -> None:
    await accept("a", 5)
    async with database.snapshot() as tx:
        assert [await tx.outbox.waiting(up_to=limit) for limit in (3, 5, 9)] == [3, 5, 5]


async def test_job_that_ended_while_it_waited_is_not_published(database: Database, submit: Submit) -> None:
    job = await submit()
    async with database.transaction() as tx:
        await tx.jobs.request_cancel(TENANT, job.id)
    assert await taken(database, 9, priority=Priority.INTERACTIVE) == []


async def test_add_unfinished_brings_back_what_a_queue_forgot_once(
    database: Database, submit: Submit
) -> None:
    queued, working, done = await submit("a"), await submit("b"), await submit("c")
    assert len(await taken(database, 9, priority=Priority.INTERACTIVE)) == 3
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, working.id, state=JobState.PARSING)
        await tx.jobs.change(TENANT, done.id, state=JobState.FAILED)
        assert await tx.outbox.add_unfinished() == 2
        assert await tx.outbox.add_unfinished() == 0
        batch = await tx.outbox.next_batch(Priority.INTERACTIVE, after_tenant="", limit=9)
    assert [entry.job_id for entry in batch] == [queued.id, working.id]


async def test_add_stranded_brings_back_old_jobs_that_nobody_holds(
    database: Database, submit: Submit
) -> None:
    lost, held, waiting = await submit("a"), await submit("b"), await submit("c")
    async with database.transaction() as tx:
        batch = await tx.outbox.next_batch(Priority.INTERACTIVE, after_tenant="", limit=9)
        await tx.outbox.remove([entry for entry in batch if entry.job_id != waiting.id])
        await tx.leases.acquire(TENANT, held.id, owner="w", ttl_s=10**10)
        assert await tx.outbox.add_stranded(datetime(2020, 1, 1, tzinfo=UTC)) == 0
        assert await tx.outbox.add_stranded(LATER) == 1
        batch = await tx.outbox.next_batch(Priority.INTERACTIVE, after_tenant="", limit=9)
    assert {entry.job_id for entry in batch} == {lost.id, waiting.id}


async def test_jobs_of_one_transaction_leave_in_the_order_of_their_acceptance(
    database: Database, accept: Accept
) -> None:
    ids = await accept("a", 20)
    found: list[str] = []
    while len(found) < 20:
        async with database.transaction() as tx:
            batch = await tx.outbox.next_batch(Priority.BULK, after_tenant="a", limit=3)
            await tx.outbox.remove(batch)
        found += [entry.job_id for entry in batch]
        await asyncio.sleep(0)
    assert found == ids
