from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from rag_server.backends.in_process_queue import InProcessJobQueue
from rag_server.backends.protocols import JobMessage
from rag_server.domain.collection import NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.domain.priority import Priority
from rag_server.errors import Unavailable
from rag_server.ingest import outbox as outbox_module
from rag_server.ingest.outbox import OutboxRelay
from rag_server.metadata.database import Database
from tests.unit.rag_server.ingest.conftest import TENANT

Submit = Callable[..., Awaitable[Job]]
PATIENCE_S = 30.0


class MoodyQueue(InProcessJobQueue):
    """Is down as long as a test says, and takes only what it says."""

    is_down = False
    refused: Sequence[str] = ()

    async def room(self, priority: Priority) -> int:
        if self.is_down:
            raise Unavailable("JOB_QUEUE_UNAVAILABLE", "down")
        return await super().room(priority)

    async def publish(self, messages: Sequence[JobMessage]) -> Sequence[JobMessage]:
        return await super().publish([each for each in messages if each.job_id not in self.refused])


@pytest.fixture
def queue() -> MoodyQueue:
    return MoodyQueue(ready=4)


@pytest.fixture
def relay(database: Database, queue: MoodyQueue) -> OutboxRelay:
    return OutboxRelay(database, queue, poll_s=3600.0, stranded_after_s=3600.0)


@pytest.fixture
async def running(relay: OutboxRelay) -> AsyncIterator[OutboxRelay]:
    task = asyncio.create_task(relay.run())
    yield relay
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def take(queue: InProcessJobQueue) -> JobMessage:
    async with asyncio.timeout(PATIENCE_S):
        return (await queue.take()).message


async def waiting(database: Database) -> int:
    async with database.snapshot() as tx:
        return await tx.outbox.waiting(up_to=1000)


async def test_relay_publishes_at_once_what_this_process_accepts(
    running: OutboxRelay, queue: MoodyQueue, submit: Submit, database: Database
) -> None:
    job = await submit()
    assert await take(queue) == JobMessage(TENANT, job.id)
    async with asyncio.timeout(PATIENCE_S):
        while await waiting(database):  # noqa: ASYNC110 - the row goes after the message
            await asyncio.sleep(0.01)


async def test_relay_publishes_what_another_process_left_behind(
    relay: OutboxRelay, queue: MoodyQueue, submit: Submit
) -> None:
    job = await submit()
    assert await relay.publish() == (1, False)
    assert (await take(queue)).job_id == job.id
    assert await relay.publish() == (0, True)


async def test_relay_leaves_in_the_outbox_what_the_queue_has_no_room_for(
    relay: OutboxRelay, queue: MoodyQueue, submit: Submit, database: Database
) -> None:
    jobs = [await submit(f"d{number}") for number in range(6)]
    assert await relay.publish() == (4, False)
    assert await relay.publish() == (0, False)
    assert await waiting(database) == 2
    for job in jobs[:4]:
        assert (await take(queue)).job_id == job.id
    assert await relay.publish() == (2, False)
    assert [(await take(queue)).job_id for _ in range(2)] == [job.id for job in jobs[4:]]


async def test_relay_refills_the_queue_while_it_is_emptied(
    running: OutboxRelay, queue: MoodyQueue, submit: Submit
) -> None:
    jobs = [await submit(f"d{number}") for number in range(30)]
    assert [(await take(queue)).job_id for _ in jobs] == [job.id for job in jobs]


async def test_relay_keeps_what_the_queue_did_not_take(
    relay: OutboxRelay, queue: MoodyQueue, submit: Submit, database: Database
) -> None:
    refused, taken = await submit("a"), await submit("b")
    queue.refused = [refused.id]
    assert await relay.publish() == (1, False)
    assert (await take(queue)).job_id == taken.id
    assert await waiting(database) == 1
    queue.refused = []
    await relay.publish()
    assert (await take(queue)).job_id == refused.id


async def test_relay_goes_on_after_the_queue_was_down(
    running: OutboxRelay, queue: MoodyQueue, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_AFTER_FAILURE_S", 0.01)
    queue.is_down = True
    job = await submit()
    await asyncio.sleep(0.05)
    assert queue.held == 0
    queue.is_down = False
    assert (await take(queue)).job_id == job.id


async def test_relay_serves_tenants_by_turns_however_many_one_of_them_has(
    running: OutboxRelay, queue: MoodyQueue, database: Database
) -> None:
    async def accept(tenant_id: str, count: int) -> None:
        async with database.transaction() as tx:
            made = await tx.collections.create(
                tenant_id, NewCollection("c"), embedding_model="m", dimension=4
            )
            for number in range(count):
                document = NewDocument("c", f"d{number}")
                await tx.jobs.create(
                    tenant_id, made.uid, document, chunking=TokenChunking(), priority=Priority.BULK
                )

    await accept("noisy", 300)
    for _ in range(10):
        assert (await take(queue)).tenant_id == "noisy"
    for number in range(3):
        await accept(f"quiet-{number}", 3)
    order = [(await take(queue)).tenant_id for _ in range(24)]
    # behind what was in the queue already, four, each quiet tenant has every fourth turn
    assert Counter(order[:17])["quiet-0"] == 3
    assert Counter(order) == {"noisy": 15, "quiet-0": 3, "quiet-1": 3, "quiet-2": 3}


async def test_find_stranded_publishes_a_job_that_the_queue_lost_again(
    database: Database, queue: MoodyQueue, submit: Submit
) -> None:
    patient = OutboxRelay(database, queue, poll_s=1.0, stranded_after_s=3600.0)
    relay = OutboxRelay(database, queue, poll_s=1.0, stranded_after_s=0.0)
    job, done = await submit("a"), await submit("b")
    await relay.publish()
    await take(queue)
    await take(queue)
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, done.id, state=JobState.FAILED)
    assert await patient.find_stranded() == 0
    assert await relay.find_stranded() == 1
    await relay.publish()
    assert (await take(queue)).job_id == job.id


async def test_two_relays_on_one_database_publish_each_job(
    database: Database, queue: MoodyQueue, submit: Submit
) -> None:
    queue = MoodyQueue(ready=100)
    jobs = [await submit(f"d{number}") for number in range(20)]
    relays = [OutboxRelay(database, queue, poll_s=1.0, stranded_after_s=1.0) for _ in range(2)]
    await asyncio.gather(*(relay.publish() for relay in relays))
    assert await waiting(database) == 0
    assert {(await take(queue)).job_id for _ in jobs} == {job.id for job in jobs}
