from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from rag_server.domain.job import Job, JobState
from rag_server.domain.lease import Lease, LeaseLost
from rag_server.errors import FailedPrecondition
from rag_server.metadata import Database
from tests.unit.rag_server.metadata.conftest import TENANT, make_publication

Submit = Callable[..., Awaitable[Job]]
LONG, SHORT = 3600.0, 0.5  # the clock goes on by a second with every look


async def acquire(database: Database, job: Job, *, ttl_s: float, owner: str = "one") -> Lease | None:
    async with database.transaction() as tx:
        return await tx.leases.acquire(TENANT, job.id, owner=owner, ttl_s=ttl_s)


async def held(database: Database, job: Job, *, ttl_s: float, owner: str = "one") -> Lease:
    lease = await acquire(database, job, ttl_s=ttl_s, owner=owner)
    assert lease is not None
    return lease


async def change(database: Database, job: Job, lease: Lease, state: JobState) -> Job:
    async with database.transaction() as tx:
        tx.jobs.fence(TENANT, job.id, lease.token)
        return await tx.jobs.change(TENANT, job.id, state=state)


async def publish(database: Database, job: Job, lease: Lease) -> Job:
    async with database.transaction() as tx:
        tx.jobs.fence(TENANT, job.id, lease.token)
        return await tx.documents.publish(TENANT, job.id, make_publication())


async def test_acquire_held_job_returns_none_and_how_long_to_wait(database: Database, submit: Submit) -> None:
    job = await submit()
    lease = await held(database, job, ttl_s=LONG)
    assert (lease.job_id, lease.owner) == (job.id, "one")
    assert await acquire(database, job, ttl_s=LONG, owner="two") is None
    async with database.snapshot() as tx:
        assert LONG - 10 < await tx.leases.remaining_s(TENANT, job.id) < LONG


async def test_acquire_with_the_token_of_the_lease_keeps_it(database: Database, submit: Submit) -> None:
    job = await submit()
    async with database.transaction() as tx:
        assert await tx.leases.find(TENANT, job.id, "mine") is None
        first = await tx.leases.acquire(TENANT, job.id, owner="one", ttl_s=LONG, token="mine")
    async with database.transaction() as tx:
        assert await tx.leases.find(TENANT, job.id, "mine") == first
        assert await tx.leases.find(TENANT, job.id, "other") is None
        again = await tx.leases.acquire(TENANT, job.id, owner="one", ttl_s=LONG, token="mine")
        assert await tx.leases.acquire(TENANT, job.id, owner="two", ttl_s=LONG, token="other") is None
    assert first is not None
    assert again is not None
    assert (again.token, again.expire_time > first.expire_time) == ("mine", True)


async def test_acquire_expired_lease_is_taken_over_with_a_token_of_its_own(
    database: Database, submit: Submit
) -> None:
    job = await submit()
    first = await held(database, job, ttl_s=SHORT)
    second = await held(database, job, ttl_s=LONG, owner="two")
    assert second.token != first.token
    with pytest.raises(LeaseLost):
        async with database.transaction() as tx:
            await tx.leases.renew(TENANT, first, ttl_s=LONG)


async def test_holder_that_lost_its_lease_cannot_write(database: Database, submit: Submit) -> None:
    job = await submit()
    first = await held(database, job, ttl_s=SHORT)
    await change(database, job, first, JobState.FETCHING)
    second = await held(database, job, ttl_s=LONG, owner="two")
    with pytest.raises(LeaseLost):
        await change(database, job, first, JobState.PARSING)
    with pytest.raises(LeaseLost):
        await publish(database, job, first)
    async with database.snapshot() as tx:
        assert (await tx.jobs.get(TENANT, job.id)).state is JobState.FETCHING
    assert (await change(database, job, second, JobState.PARSING)).state is JobState.PARSING


async def test_holder_that_was_late_and_not_replaced_goes_on(database: Database, submit: Submit) -> None:
    job = await submit()
    lease = await held(database, job, ttl_s=SHORT)
    async with database.transaction() as tx:
        renewed = await tx.leases.renew(TENANT, lease, ttl_s=LONG)
    assert renewed.token == lease.token
    assert renewed.expire_time > lease.expire_time + timedelta(seconds=LONG / 2)
    assert await acquire(database, job, ttl_s=LONG, owner="two") is None


async def test_release_lets_another_take_the_job_at_once(database: Database, submit: Submit) -> None:
    job = await submit()
    lease = await held(database, job, ttl_s=LONG)
    async with database.transaction() as tx:
        await tx.leases.release(TENANT, lease)
        assert await tx.leases.remaining_s(TENANT, job.id) == 0.0
    successor = await held(database, job, ttl_s=LONG, owner="two")
    async with database.transaction() as tx:
        await tx.leases.release(TENANT, lease)  # once more, too late: it is not ours
        assert await tx.leases.acquire(TENANT, job.id, owner="three", ttl_s=LONG) is None
        await tx.leases.renew(TENANT, successor, ttl_s=LONG)


async def test_end_of_the_job_ends_its_lease(database: Database, submit: Submit) -> None:
    job = await submit()
    lease = await held(database, job, ttl_s=LONG)
    async with database.transaction() as tx:
        tx.jobs.fence(TENANT, job.id, lease.token)
        await tx.documents.publish(TENANT, job.id, make_publication())
    async with database.transaction() as tx:
        assert await tx.leases.remaining_s(TENANT, job.id) == 0.0
        with pytest.raises(FailedPrecondition) as raised:
            await tx.leases.acquire(TENANT, job.id, owner="two", ttl_s=LONG)
    assert raised.value.reason == "JOB_ALREADY_FINISHED"


async def test_release_all_is_for_a_store_of_ones_own(database: Database, submit: Submit) -> None:
    jobs = [await submit("a"), await submit("b")]
    for job in jobs:
        await held(database, job, ttl_s=LONG)
    async with database.transaction() as tx:
        await tx.leases.release_all()
    for job in jobs:
        await held(database, job, ttl_s=LONG, owner="next process")
