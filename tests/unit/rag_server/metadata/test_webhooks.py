from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rag_server.domain.job import Job, JobState
from rag_server.domain.webhook import Attempt, DeliveryState, Webhook, WebhookDelivery
from rag_server.metadata import Database

TENANT = "acme"
HOOK = Webhook("https://acme.example/hook", "billing")
Submit = Callable[..., Awaitable[Job]]


async def of_job(database: Database, job: Job) -> WebhookDelivery | None:
    async with database.snapshot() as tx:
        return await tx.webhooks.of_job(TENANT, job.id)


async def claim(database: Database, *, limit: int = 10, lease_s: float = 60.0) -> list[WebhookDelivery]:
    async with database.transaction() as tx:
        return list(await tx.webhooks.claim(limit=limit, lease_s=lease_s))


async def fail(database: Database, job: Job) -> None:
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FAILED)


async def test_delivery_is_written_with_the_end_of_its_job_and_not_before(
    database: Database, submit: Submit, publish: Callable[..., Awaitable[Job]]
) -> None:
    job = await submit(webhook=HOOK)
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.PARSING)
    assert await of_job(database, job) is None
    ended = await publish(job)
    delivery = await of_job(database, job)
    assert delivery is not None
    assert (delivery.webhook, delivery.job_sequence) == (HOOK, ended.sequence)
    assert (delivery.state, delivery.attempt_count) == (DeliveryState.PENDING, 0)


async def test_end_that_is_rolled_back_leaves_no_delivery(database: Database, submit: Submit) -> None:
    job = await submit(webhook=HOOK)

    async def fail_and_break() -> None:
        async with database.transaction() as tx:
            await tx.jobs.change(TENANT, job.id, state=JobState.FAILED)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_and_break()
    assert await of_job(database, job) is None


async def test_job_without_a_webhook_has_no_delivery(database: Database, submit: Submit) -> None:
    job = await submit()
    await fail(database, job)
    assert await of_job(database, job) is None


async def test_claimed_delivery_is_nobody_elses_until_its_claim_ends(
    database: Database, submit: Submit
) -> None:
    await fail(database, await submit(webhook=HOOK))
    (first,) = await claim(database, lease_s=5.0)
    assert first.attempt_count == 1
    assert await claim(database) == []
    again: list[WebhookDelivery] = []
    for _ in range(10):  # each look at the clock takes it on by a second
        again = again or await claim(database)
    assert [(each.id, each.attempt_count) for each in again] == [(first.id, 2)]
    async with database.transaction() as tx:
        assert not await tx.webhooks.record(TENANT, first, Attempt(http_status=200), retry_s=None)
        assert await tx.webhooks.record(TENANT, again[0], Attempt(http_status=200), retry_s=None)


async def test_claim_takes_no_more_than_its_limit_the_longest_due_first(
    database: Database, submit: Submit
) -> None:
    jobs = [await submit(f"doc{number}", webhook=HOOK) for number in range(3)]
    for job in jobs:
        await fail(database, job)
    assert [each.job_id for each in await claim(database, limit=2)] == [job.id for job in jobs[:2]]
    assert [each.job_id for each in await claim(database, limit=2)] == [jobs[2].id]


@pytest.mark.parametrize(
    ("attempt", "retry_s", "state"),
    [
        (Attempt(http_status=204), None, DeliveryState.DELIVERED),
        (Attempt(http_status=500, reason="WEBHOOK_REFUSED"), None, DeliveryState.FAILED),
        (Attempt(http_status=500, reason="WEBHOOK_REFUSED"), 0.5, DeliveryState.PENDING),
    ],
)
async def test_attempt_is_recorded(
    database: Database, submit: Submit, attempt: Attempt, retry_s: float | None, state: DeliveryState
) -> None:
    job = await submit(webhook=HOOK)
    await fail(database, job)
    (claimed,) = await claim(database)
    async with database.transaction() as tx:
        assert await tx.webhooks.record(TENANT, claimed, attempt, retry_s=retry_s)
    found = await of_job(database, job)
    assert found is not None
    assert (found.state, found.http_status, found.reason) == (state, attempt.http_status, attempt.reason)
    assert bool(await claim(database)) is (retry_s is not None)


async def test_job_that_is_revived_ends_with_another_delivery(database: Database, submit: Submit) -> None:
    job = await submit(webhook=HOOK)
    async with database.transaction() as tx:
        await tx.blobs.add(TENANT, "a" * 64, 3)
    await fail(database, job)
    before = await of_job(database, job)
    async with database.transaction() as tx:
        await tx.revival.revive(TENANT, job.id)
    await fail(database, job)
    after = await of_job(database, job)
    assert before is not None
    assert after is not None
    assert after.id != before.id
    assert after.job_sequence > before.job_sequence
