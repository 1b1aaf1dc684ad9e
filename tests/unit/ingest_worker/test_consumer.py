from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from ingest_worker import consumer as consumer_module
from ingest_worker.dead_letters import DeadLetterRecorder
from ingest_worker.metrics import WorkerMetrics
from rag_server.backends.in_process_queue import InProcessDelivery, InProcessJobQueue
from rag_server.backends.protocols import JobMessage
from rag_server.domain.job import Job, JobState
from rag_server.errors import InvalidArgument, NotFound, Unavailable
from tests.unit.ingest_worker.conftest import TENANT, Workshop

DOWN = Unavailable("VECTOR_STORE_UNAVAILABLE", "the vector store does not answer")

Consume = Callable[..., asyncio.Task[None]]


@pytest.fixture
async def consume(workshop: Workshop) -> AsyncIterator[Consume]:
    """Return a function that starts a consumer."""
    tasks: list[asyncio.Task[None]] = []

    def start(**settings: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(workshop.consumer(**settings).run())
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
    await workshop.queue.publish([JobMessage(job.tenant_id, job.id)] * 4)
    consume(concurrency=5, lease_s=2.0)
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count, ended.document_revision) == (JobState.SUCCEEDED, 1, 1)
    await asyncio.sleep(2.5)  # the others look again when the lease would have ended
    assert (await workshop.job(job.id)).sequence == ended.sequence
    assert len(workshop.rows.rows) == ended.progress.chunk_count


async def test_consumer_waits_longer_after_each_failure_up_to_a_minute(
    workshop: Workshop, consume: Consume, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    retry = InProcessDelivery.retry

    async def retry_at_once(self: InProcessDelivery, delay_s: float) -> None:
        delays.append(delay_s)
        await retry(self, 0.0)

    monkeypatch.setattr(InProcessDelivery, "retry", retry_at_once)
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
    await workshop.queue.publish([JobMessage(TENANT, "nope")])
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

    async def lose_the_answer(self: Any, job: Any, lease: Any) -> Any:
        await run(self, job, lease)
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
    workshop.queue = InProcessJobQueue()  # a new process knows only what was recorded
    async with workshop.database.snapshot() as tx:
        unfinished = await tx.jobs.unfinished()
    assert [each.id for each in unfinished] == [job.id]
    await workshop.queue.publish([JobMessage(each.tenant_id, each.id) for each in unfinished])
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
    monkeypatch.setattr(consumer_module, "_UNRECORDED_RETRY_S", 0.001)
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


async def test_consumer_outcome_that_cannot_be_recorded_is_recorded_once_the_database_answers(
    workshop: Workshop, consume: Consume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "_RECORD_PAUSE_S", 0.001)
    record = consumer_module.Consumer._record
    failures = 3

    async def fail_at_first(self: Any, *arguments: Any) -> bool:
        nonlocal failures
        if failures:
            failures -= 1
            raise Unavailable("METADATA_STORE_UNAVAILABLE", "m")
        return await record(self, *arguments)

    monkeypatch.setattr(consumer_module.Consumer, "_record", fail_at_first)
    workshop.rows.fill_first = [DOWN]
    job = await workshop.accept()
    consume(lease_s=3600.0)  # nobody else may have it meanwhile
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count, failures) == (JobState.SUCCEEDED, 2, 0)


async def test_consumer_of_a_message_whose_job_has_ended_tells_of_it_again(
    workshop: Workshop, consume: Consume
) -> None:
    job = await workshop.accept()
    async with workshop.database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FAILED)
    told = asyncio.Event()
    collections: list[str] = []

    def take(jobs: Sequence[Job]) -> None:
        assert [(each.id, each.state) for each in jobs] == [(job.id, JobState.FAILED)]
        told.set()

    workshop.database.on_jobs_changed(take)
    workshop.database.on_collections_changed(
        lambda changes: collections.extend(c.collection_uid for c in changes)
    )
    consume()
    await asyncio.wait_for(told.wait(), 30)
    assert collections == [workshop.collection.uid]


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


async def test_consumer_job_that_another_holds_waits_and_is_taken_over_when_its_lease_ends(
    workshop: Workshop, consume: Consume
) -> None:
    job = await workshop.accept()
    async with workshop.database.transaction() as tx:  # by a worker that dies without a word
        assert await tx.leases.acquire(TENANT, job.id, owner="dead", ttl_s=0.5) is not None
    consume()
    await asyncio.sleep(0.2)
    assert (await workshop.job(job.id)).state is JobState.QUEUED
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.SUCCEEDED, 1)


async def test_consumer_whose_lease_was_granted_without_an_answer_goes_on_with_it(
    workshop: Workshop, consume: Consume, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await workshop.accept()
    commit = AsyncSession.commit
    answers = iter([False])

    async def commit_and_lose_the_first_answer(session: AsyncSession) -> None:
        await commit(session)
        if not next(answers, True):
            raise OperationalError("COMMIT", {}, Exception("connection lost"))

    monkeypatch.setattr(AsyncSession, "commit", commit_and_lose_the_first_answer)
    consume(lease_s=3600.0)  # which would keep the job from everybody
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.SUCCEEDED, 1)


async def test_consumer_keeps_its_lease_as_long_as_it_works(workshop: Workshop, consume: Consume) -> None:
    job = await workshop.accept()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(batch: int) -> None:
        if batch == 1:
            reached.set()
            await go_on.wait()

    async def end_of_lease() -> float:
        async with workshop.database.snapshot() as tx:
            return asyncio.get_running_loop().time() + await tx.leases.remaining_s(TENANT, job.id)

    workshop.rows.before_upsert = wait
    consume(lease_s=3.0)
    await reached.wait()
    first_end = await end_of_lease()
    async with asyncio.timeout(60):
        while await end_of_lease() < first_end + 3.0:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.1)
    async with workshop.database.transaction() as tx:
        assert await tx.leases.acquire(TENANT, job.id, owner="other", ttl_s=1.0) is None
    go_on.set()
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.SUCCEEDED, 1)


async def test_consumer_that_lost_its_lease_writes_nothing_more(workshop: Workshop, consume: Consume) -> None:
    job = await workshop.accept()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pause(batch: int) -> None:
        if batch == 1:
            reached.set()
            await go_on.wait()

    workshop.rows.before_upsert = pause
    task = consume(concurrency=1, lease_s=60.0)
    await reached.wait()
    async with workshop.database.transaction() as tx:  # as after a pause that was longer than the lease
        await tx.leases.release_all()
    before = await workshop.job(job.id)
    lease = await workshop.hold(job)
    go_on.set()
    await workshop.ended.acquire()
    after = await workshop.job(job.id)
    assert (after.sequence, after.state) == (before.sequence, before.state)
    task.cancel()
    workshop.rows.before_upsert = None
    done = await workshop.pipeline.run(after, lease)
    assert done.state is JobState.SUCCEEDED
    assert [row.ordinal for row in workshop.visible()] == list(range(done.progress.chunk_count or 0))


async def test_consumer_that_drains_ends_what_it_has_and_takes_no_more(
    workshop: Workshop, consume: Consume
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pause(batch: int) -> None:
        reached.set()
        await go_on.wait()

    workshop.rows.before_upsert = pause
    first = await workshop.accept(document_id="first")
    consumer = workshop.consumer(concurrency=2)
    running = asyncio.create_task(consumer.run())
    await reached.wait()
    draining = asyncio.create_task(consumer.drain(30.0))
    await asyncio.sleep(0)
    second = await workshop.accept(document_id="second")
    go_on.set()
    assert await draining
    await running
    assert (await workshop.job(first.id)).state is JobState.SUCCEEDED
    assert (await workshop.job(second.id)).state is JobState.QUEUED


async def test_consumer_that_cannot_drain_in_time_hands_its_jobs_back(
    workshop: Workshop, consume: Consume
) -> None:
    reached = asyncio.Event()

    async def hang(batch: int) -> None:
        if not reached.is_set():
            reached.set()
            await asyncio.Event().wait()

    workshop.rows.before_upsert = hang
    job = await workshop.accept()
    consumer = workshop.consumer(lease_s=3600.0)
    running = asyncio.create_task(consumer.run())
    await reached.wait()
    assert not await consumer.drain(0.01)
    await running
    consume()  # at once, though the lease would last an hour
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.attempt_count) == (JobState.SUCCEEDED, 2)


async def test_consumer_counts_jobs_by_how_they_ended(workshop: Workshop) -> None:
    registry = CollectorRegistry()
    consumer = workshop.consumer(metrics=WorkerMetrics(registry), max_attempts=2)
    workshop.rows.fill_first = [DOWN, InvalidArgument("DOCUMENT_CORRUPT", "broken")]
    running = asyncio.create_task(consumer.run())
    await workshop.end_of((await workshop.accept(document_id="bad")).id)
    await workshop.end_of((await workshop.accept(document_id="good")).id)
    await workshop.ended.acquire()
    await workshop.ended.acquire()
    running.cancel()
    value = registry.get_sample_value
    assert value("rag_jobs_ended_total", {"state": "failed"}) == 1
    assert value("rag_jobs_ended_total", {"state": "succeeded"}) == 1
    assert value("rag_jobs_retried_total", {"reason": DOWN.reason}) == 1
    assert value("rag_job_seconds_count") == 2
    assert value("rag_jobs_working") == 0


async def test_dead_letter_fails_its_job_which_can_be_revived(workshop: Workshop, consume: Consume) -> None:
    job = await workshop.accept()
    delivery = await workshop.queue.take()
    await delivery.dead_letter()
    recorder = asyncio.create_task(
        DeadLetterRecorder(workshop.queue, workshop.database, workshop.ended.release).run()
    )
    failed = await workshop.end_of(job.id)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.reason == "ATTEMPTS_EXHAUSTED"
    async with workshop.database.transaction() as tx:
        await tx.revival.revive(TENANT, job.id)
    await workshop.queue.publish([delivery.message])
    consume()
    ended = await workshop.end_of(job.id)
    assert (ended.state, ended.document_revision) == (JobState.SUCCEEDED, 2)
    recorder.cancel()


async def test_dead_letter_of_a_job_that_is_being_worked_on_changes_nothing(workshop: Workshop) -> None:
    job = await workshop.accept()
    await workshop.hold(job)
    await (await workshop.queue.take()).dead_letter()
    recorder = asyncio.create_task(
        DeadLetterRecorder(workshop.queue, workshop.database, workshop.ended.release).run()
    )
    await workshop.ended.acquire()
    assert (await workshop.job(job.id)).state is JobState.QUEUED
    recorder.cancel()
