from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from ingest_worker import consumer as consumer_module
from ingest_worker.consumer import Consumer
from rag_server.backends.in_process_queue import InProcessJobQueue
from rag_server.backends.protocols import JobRef
from rag_server.domain.job import JobState
from rag_server.errors import InvalidArgument, NotFound, Unavailable
from tests.unit.ingest_worker.conftest import TENANT, Workshop

DOWN = Unavailable("VECTOR_STORE_UNAVAILABLE", "the vector store does not answer")

Consume = Callable[..., asyncio.Task[None]]


@pytest.fixture
async def consume(workshop: Workshop) -> AsyncIterator[Consume]:
    """Return a function that starts a consumer."""
    tasks: list[asyncio.Task[None]] = []

    def start(**settings: Any) -> asyncio.Task[None]:
        options = {"concurrency": 2, "max_attempts": 3, "max_starts": 9, "backoff_s": 0.001, **settings}
        consumer = Consumer(
            workshop.queue, workshop.database, workshop.pipeline, workshop.ended.release, **options
        )
        task = asyncio.create_task(consumer.run())
        tasks.append(task)
        return task

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def nothing_is_left(workshop: Workshop) -> None:
    await workshop.sweeper.sweep()
    assert workshop.rows.rows == {}
    async with workshop.database.snapshot() as tx:
        with pytest.raises(NotFound):
            await tx.documents.get(TENANT, workshop.collection.uid, "doc")


async def test_consumer_takes_a_job_to_its_end(workshop: Workshop, consume: Consume) -> None:
    job = await workshop.accept()
    consume()
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.SUCCEEDED, 1)
    assert len(workshop.rows.rows) == ended.progress.chunk_count


async def test_consumer_tries_again_after_a_failure_that_may_pass(
    workshop: Workshop, consume: Consume
) -> None:
    workshop.rows.fill_first = [DOWN, DOWN]
    job = await workshop.accept()
    consume()
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count, ended.error) == (JobState.SUCCEEDED, 3, None)


async def test_consumer_gives_up_after_the_last_attempt(workshop: Workshop, consume: Consume) -> None:
    workshop.rows.fill_first = [DOWN] * 3
    job = await workshop.accept()
    consume()
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.FAILED, 3)
    assert ended.error is not None
    assert (ended.error.reason, ended.error.message) == (DOWN.reason, DOWN.message)
    await nothing_is_left(workshop)


async def test_consumer_job_that_never_ends_is_given_up(workshop: Workshop, consume: Consume) -> None:
    job = await workshop.accept()
    async with workshop.database.transaction() as tx:  # as after two processes that it took with it
        await tx.jobs.change(job.tenant_id, job.id, attempt_count=2)
    consume(max_starts=2)
    ended = await workshop.end_of(job.id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.reason == "ATTEMPTS_EXHAUSTED"
    await nothing_is_left(workshop)


async def test_consumer_job_that_is_queued_twice_is_worked_on_once(
    workshop: Workshop, consume: Consume
) -> None:
    job = await workshop.accept()
    for _ in range(3):
        ref = JobRef(job.tenant_id, job.id)
        workshop.queue._known.discard(ref)  # as if it had been taken already
        await workshop.queue.publish(ref)
    consume(concurrency=4)
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.SUCCEEDED, 1)


async def test_consumer_waits_longer_after_each_failure_up_to_a_minute(
    workshop: Workshop, consume: Consume, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []

    def publish_at_once(self: Consumer, ref: JobRef, delay_s: float) -> None:
        delays.append(delay_s)
        self._delayed.add(asyncio.create_task(self._queue.publish(ref)))

    monkeypatch.setattr(Consumer, "_publish_later", publish_at_once)
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    workshop.rows.fill_first = [DOWN] * 5
    job = await workshop.accept()
    consume(max_attempts=6, backoff_s=10.0)
    await workshop.end_of(job.id)
    assert delays == [10.0, 20.0, 40.0, 60.0, 60.0]


async def test_consumer_failure_that_stays_ends_the_job_with_reason_and_metadata(
    workshop: Workshop, consume: Consume
) -> None:
    workshop.rows.fill_first = [InvalidArgument("DOCUMENT_CORRUPT", "broken", metadata={"page": "3"})]
    job = await workshop.accept()
    consume()
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.FAILED, 1)
    assert ended.error is not None
    assert (ended.error.reason, ended.error.metadata) == ("DOCUMENT_CORRUPT", {"page": "3"})
    assert ended.end_time is not None


async def test_consumer_unknown_exception_fails_the_job_without_its_text_and_work_goes_on(
    workshop: Workshop, consume: Consume
) -> None:
    workshop.rows.fill_first = [ValueError("hunter2")]
    bad = await workshop.accept(document_id="bad")
    with capture_logs() as logs:
        consume(concurrency=1)
        ended = await workshop.end_of(bad.id)
        good = await workshop.accept(document_id="good")
        assert (await workshop.end_of(good.id)).state is JobState.SUCCEEDED
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.reason == "INTERNAL"
    assert "hunter2" not in ended.error.message
    assert "ValueError" in str(logs)
    assert "hunter2" not in str(logs)


async def test_consumer_cancelled_job_leaves_no_rows(workshop: Workshop, consume: Consume) -> None:
    job = await workshop.accept()

    async def cancel(batch: int) -> None:
        if batch == 1:
            async with workshop.database.transaction() as tx:
                await tx.jobs.request_cancel(TENANT, job.id)

    workshop.rows.before_upsert = cancel
    consume()
    ended = await workshop.end_of(job.id)
    assert ended.state is JobState.CANCELLED
    assert ended.error is None
    assert len(workshop.rows.written) == 2
    await nothing_is_left(workshop)


async def test_consumer_job_cancelled_while_it_waits_is_not_begun(
    workshop: Workshop, consume: Consume
) -> None:
    job = await workshop.accept()
    async with workshop.database.transaction() as tx:
        await tx.jobs.request_cancel(TENANT, job.id)
    other = await workshop.accept(document_id="other")
    consume(concurrency=1)
    await workshop.end_of(other.id)
    ended = await workshop.job(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.CANCELLED, 0)
    assert {row.document_id for row in workshop.visible()} == {"other"}


async def test_consumer_job_of_nobody_is_passed_over(workshop: Workshop, consume: Consume) -> None:
    await workshop.queue.publish(JobRef(TENANT, "nope"))
    job = await workshop.accept()
    consume(concurrency=1)
    assert (await workshop.end_of(job.id)).state is JobState.SUCCEEDED


async def test_consumer_document_deleted_during_its_ingest_stays_deleted(
    workshop: Workshop, consume: Consume
) -> None:
    job = await workshop.accept()

    async def delete(batch: int) -> None:
        if batch == 1:
            async with workshop.database.transaction() as tx:
                await tx.documents.delete(TENANT, workshop.collection.uid, "doc")
            await workshop.sweeper.sweep()

    workshop.rows.before_upsert = delete
    consume()
    assert (await workshop.end_of(job.id)).state is JobState.CANCELLED
    await nothing_is_left(workshop)


async def test_consumer_collection_deleted_and_swept_during_an_ingest_leaves_no_rows(
    workshop: Workshop, consume: Consume
) -> None:
    job = await workshop.accept()
    swept = asyncio.Event()

    async def delete(batch: int) -> None:
        if batch == 1:
            async with workshop.database.transaction() as tx:
                await tx.collections.delete(TENANT, "books")
            await workshop.sweeper.sweep()
            swept.set()

    workshop.rows.before_upsert = delete
    consume(concurrency=1)
    await swept.wait()
    await workshop.ended.acquire()
    assert (await workshop.job(job.id)).state is JobState.CANCELLED
    await workshop.sweeper.sweep()
    assert workshop.rows.rows == {}
    assert workshop.rows.collections == set()


async def test_consumer_lost_answer_of_a_publication_keeps_the_collection(
    workshop: Workshop, consume: Consume, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = type(workshop.pipeline).run

    async def lose_the_answer(self: Any, job: Any) -> Any:
        await run(self, job)
        raise Unavailable("METADATA_STORE_UNAVAILABLE", "m")

    monkeypatch.setattr(type(workshop.pipeline), "run", lose_the_answer)
    job = await workshop.accept()
    consume(concurrency=1)
    await workshop.ended.acquire()
    await workshop.sweeper.sweep()
    ended = await workshop.job(job.id)
    assert ended.state is JobState.SUCCEEDED
    assert len(workshop.rows.rows) == ended.progress.chunk_count


async def test_consumer_stopped_in_the_middle_leaves_the_job_to_the_next_start(
    workshop: Workshop, consume: Consume
) -> None:
    job = await workshop.accept()
    reached = asyncio.Event()

    async def hang(batch: int) -> None:
        if batch == 2:
            reached.set()
            await asyncio.Event().wait()

    workshop.rows.before_upsert = hang
    task = consume()
    await reached.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    cut_off = await workshop.job(job.id)
    assert not cut_off.state.is_final

    workshop.rows.before_upsert = None
    workshop.queue = InProcessJobQueue(100)  # a new process knows only what was recorded
    async with workshop.database.snapshot() as tx:
        unfinished = await tx.jobs.unfinished()
    assert [each.id for each in unfinished] == [job.id]
    for each in unfinished:
        await workshop.queue.publish(JobRef(each.tenant_id, each.id))
    consume()
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.SUCCEEDED, 2)
    assert [row.ordinal for row in workshop.visible()] == list(range(ended.progress.chunk_count or 0))


async def test_consumer_two_versions_of_a_document_end_with_the_later_one(
    workshop: Workshop, consume: Consume
) -> None:
    first = await workshop.accept("the old text")
    second = await workshop.accept("the new text")
    consume(concurrency=2)
    await workshop.end_of(first.id)
    assert (await workshop.end_of(second.id)).state is JobState.SUCCEEDED
    await workshop.sweeper.sweep()
    assert [row.text for row in workshop.visible()] == ["the new text"]


async def test_consumer_works_on_as_many_jobs_at_once_as_it_may(workshop: Workshop, consume: Consume) -> None:
    active = most = 0
    both = asyncio.Event()

    async def meet(batch: int) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        if active == 2:
            both.set()
        await both.wait()
        active -= 1

    workshop.rows.before_upsert = meet
    jobs = [await workshop.accept("short", f"d{number}") for number in range(4)]
    consume(concurrency=2)
    for job in jobs:
        await workshop.end_of(job.id)
    assert most == 2


async def test_consumer_without_its_database_keeps_the_job_for_later(
    workshop: Workshop, consume: Consume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "_MAX_BACKOFF_S", 0.001)
    transaction = type(workshop.database).transaction
    failures = 3

    def fail_at_first(self: Any) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise Unavailable("METADATA_STORE_UNAVAILABLE", "m")
        return transaction(self)

    job = await workshop.accept()
    monkeypatch.setattr(type(workshop.database), "transaction", fail_at_first)
    consume()
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count, failures) == (JobState.SUCCEEDED, 1, 0)


async def test_consumer_logs_carry_the_request_id_of_the_call_that_handed_in_the_document(
    workshop: Workshop, consume: Consume
) -> None:
    job = await workshop.accept()
    with capture_logs(processors=[merge_contextvars]) as logs:
        consume()
        await workshop.end_of(job.id)
        await workshop.ended.acquire()
    ended = next(each for each in logs if each["event"] == "job ended")
    assert (ended["job"], ended["request_id"]) == (job.id, job.request_id)
