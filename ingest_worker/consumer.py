"""Takes jobs from the queue and sees each to a final state: done, failed, cancelled, or tried again.

A message says that a job may have to be worked on; whether it has to, the metadata store knows. So a
message that comes twice, or late, or after its job has ended, does no harm: the work is done under a lease.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable
from contextlib import suppress

import structlog
from structlog.contextvars import bound_contextvars

from ingest_worker.cancelled import JobCancelled
from ingest_worker.lease import HeldLease
from ingest_worker.metrics import WorkerMetrics
from ingest_worker.runner import Runner
from rag_server.backends.protocols import Delivery, JobMessage, JobQueue
from rag_server.concurrency import beside, finish
from rag_server.domain.ids import new_id
from rag_server.domain.job import Job, JobError, JobState
from rag_server.domain.lease import LeaseLost
from rag_server.errors import FailedPrecondition, Internal, NotFound, RagError, Unavailable
from rag_server.failpoints import step
from rag_server.logs import where_raised
from rag_server.metadata.database import Database, Transaction

log = structlog.get_logger()

_MAX_BACKOFF_S = 60.0
_UNRECORDED_RETRY_S = 5.0
"""How long a job waits at most that nothing could be recorded of, since the store of the jobs is down."""
_RECORD_PAUSE_S = 0.5
_LEASE_MARGIN_S = 0.1
"""How long after the end of another's lease its job is looked at again."""


class Consumer:
    """Works on up to `concurrency` jobs at once; calls `on_ended` after each, since it may have left rows."""

    def __init__(
        self,
        queue: JobQueue,
        database: Database,
        runner: Runner,
        on_ended: Callable[[], None],
        *,
        concurrency: int,
        max_attempts: int,
        max_starts: int,
        backoff_s: float,
        lease_s: float = 30.0,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._queue = queue
        self._database = database
        self._runner = runner
        self._on_ended = on_ended
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._max_starts = max_starts
        self._backoff_s = backoff_s
        self._lease_s = lease_s
        self._metrics = metrics or WorkerMetrics()
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._slots: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._is_draining = False

    async def run(self) -> None:
        """Consume until cancelled, or drained. A job that is cut off is handed back for others to take up."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                self._slots.add(group.create_task(self._consume()))

    async def drain(self, grace_s: float) -> bool:
        """Take no more jobs and wait for those at hand; return whether they ended in time.

        Those that did not are handed back.
        """
        self._is_draining = True
        for slot in self._idle:
            slot.cancel()
        if not self._slots:
            return True
        _, late = await asyncio.wait(self._slots, timeout=grace_s)
        for slot in late:
            slot.cancel()
        if late:
            await asyncio.wait(late)
        return not late

    async def _consume(self) -> None:
        slot = asyncio.current_task()
        assert slot is not None
        while not self._is_draining:
            self._idle.add(slot)
            try:
                delivery = await self._queue.take()
            finally:
                self._idle.discard(slot)
            with bound_contextvars(job=delivery.message.job_id):
                try:
                    await self._handle(delivery)
                except RagError as error:
                    # The store of the jobs itself is down: nothing can be recorded now.
                    log.error("job cannot be recorded", reason=error.reason)
                    await delivery.retry(_UNRECORDED_RETRY_S * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _handle(self, delivery: Delivery) -> None:
        message = delivery.message
        begun = await self._begin(delivery)
        if begun is None:
            return
        job, lease = begun
        delay_s: float | None = None
        # leads from the call to its job in the log
        with bound_contextvars(request_id=job.request_id, trace_parent=message.trace_parent or None):
            try:
                if job.attempt_count > self._max_starts:
                    await self._give_up(job, lease, delivery)
                    return
                with self._metrics.working():
                    delay_s = await self._work(job, lease)
            except LeaseLost:
                delay_s = await self._after_loss(message)
            except asyncio.CancelledError:
                await finish(self._hand_back(lease, delivery))
                raise
        if delay_s is None:
            with step("ack"):
                await delivery.ack()
        else:
            await delivery.retry(delay_s)
        self._on_ended()

    async def _begin(self, delivery: Delivery) -> tuple[Job, HeldLease] | None:
        """Take the job's lease and count the start; None: the message needs no work, and is answered.

        While the store of the jobs does not answer, that is tried again: perhaps only its answer was lost,
        and the lease is ours and would keep everybody from the job until it ends.
        """
        token = new_id()
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._lease_s
        while True:
            try:
                return await self._take(delivery, token)
            except Unavailable:
                if loop.time() >= give_up:
                    raise
                await asyncio.sleep(_RECORD_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    async def _take(self, delivery: Delivery, token: str) -> tuple[Job, HeldLease] | None:
        """As `_begin`, once; with a token that was tried before, it goes on from where that came to."""
        tenant_id, job_id = delivery.message.tenant_id, delivery.message.job_id
        try:
            async with self._database.transaction() as tx:
                is_counted = await tx.leases.find(tenant_id, job_id, token) is not None
                lease = await tx.leases.acquire(
                    tenant_id, job_id, owner=self._owner, ttl_s=self._lease_s, token=token
                )
                job = await tx.jobs.get(tenant_id, job_id)
                remaining_s = 0.0
                if lease is None:
                    remaining_s = await tx.leases.remaining_s(tenant_id, job_id)
                elif job.waiting:
                    await tx.leases.release(tenant_id, lease)
                elif not is_counted:
                    job = await tx.jobs.change(
                        tenant_id, job_id, state=JobState.FETCHING, attempt_count=job.attempt_count + 1
                    )
        except (NotFound, FailedPrecondition):
            # It has ended while it waited; or in a worker that died before it could tell or acknowledge that.
            with suppress(NotFound):
                await self._database.tell_again(tenant_id, job_id)
            await delivery.ack()
            return None
        if job.waiting:
            await delivery.ack()  # what it waits for has it go on
            return None
        if lease is None:
            # Another has it, and may yet die of it: this message comes back to see.
            await delivery.retry(remaining_s + _LEASE_MARGIN_S)
            return None
        return job, HeldLease(self._database, lease, self._lease_s)

    async def _give_up(self, job: Job, lease: HeldLease, delivery: Delivery) -> None:
        """End a job that takes its process with it each time, or never ends. Raises `LeaseLost`."""
        message = f"given up after {self._max_starts} starts"
        await self._change(job, lease, JobState.FAILED, JobError("ATTEMPTS_EXHAUSTED", message))
        await delivery.dead_letter()
        self._on_ended()

    async def _work(self, job: Job, lease: HeldLease) -> float | None:
        """Run the job; return in how many seconds it is to be tried again, or None when it has ended.

        Raises `LeaseLost`.
        """
        try:
            ended = await beside(lease.keep(), self._runner.run(job, lease))
        except JobCancelled:
            await self._change(job, lease, JobState.CANCELLED, None)
        except RagError as error:
            return await self._fail(job, lease, error)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: one job must not take the worker down
            log.error("unhandled exception", where=where_raised(error))
            internal = Internal("INTERNAL", "internal error; the server's log has it")
            return await self._fail(job, lease, internal)
        else:
            return self._after_run(ended)
        return None

    def _after_run(self, job: Job) -> float | None:
        """Return as `_work` does, for a job whose run came to its end."""
        if job.state.is_final:
            self._metrics.ended(job)
            log.info("job ended", state=job.state, chunks=job.progress.chunk_count)
            return None
        if job.waiting:
            log.info("job waits for what it found", found=job.progress.found_item_count)
            return None
        return 0.0  # it goes on once others had their turn

    async def _fail(self, job: Job, lease: HeldLease, error: RagError) -> float | None:
        """Have the job tried again where that may help, else end it; return as `_work` does."""
        if error.is_retryable and job.attempt_count < self._max_attempts:
            delay = min(self._backoff_s * 2 ** (job.attempt_count - 1), _MAX_BACKOFF_S)
            delay *= random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
            log.warning("job will be tried again", reason=error.reason, attempt=job.attempt_count, in_s=delay)
            self._metrics.retried(error.reason)
            is_waiting = await self._change(job, lease, JobState.QUEUED, None)
            return delay if is_waiting else None
        reported = JobError(error.reason, error.message, error.metadata)
        if await self._change(job, lease, JobState.FAILED, reported):
            log.warning("job failed", reason=error.reason)
        return None

    async def _change(self, job: Job, lease: HeldLease, state: JobState, error: JobError | None) -> bool:
        """Record the new state and let go of the job; return False when it has ended otherwise meanwhile.

        While the store of the jobs does not answer, that is tried again as long as the lease lasts: it keeps
        others from the job, and what could not be recorded would wait for its end. Raises `LeaseLost`.
        """
        while True:
            try:
                return await self._record(job, lease, state, error)
            except Unavailable as failure:
                if lease.has_ended:
                    raise
                log.warning("job cannot be recorded, will be tried again", reason=failure.reason)
                await asyncio.sleep(_RECORD_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    async def _record(self, job: Job, lease: HeldLease, state: JobState, error: JobError | None) -> bool:
        async with lease.transaction() as tx:
            try:
                changed = await tx.jobs.change(job.tenant_id, job.id, state=state, error=error)
                await lease.release(tx)
            except FailedPrecondition:
                await _sweep_if_collection_is_gone(tx, job.tenant_id, job.id)
                return False
        if state.is_final:
            self._metrics.ended(changed)
        return True

    async def _after_loss(self, message: JobMessage) -> float | None:
        """Find out what became of a job that was taken from us; return as `_work` does."""
        log.warning("lease lost")
        self._metrics.lost()
        async with self._database.transaction() as tx:
            job = await tx.jobs.get(message.tenant_id, message.job_id)
            if job.state.is_final:
                await _sweep_if_collection_is_gone(tx, message.tenant_id, message.job_id)
                return None
            return await tx.leases.remaining_s(message.tenant_id, message.job_id) + _LEASE_MARGIN_S

    async def _hand_back(self, lease: HeldLease, delivery: Delivery) -> None:
        """Let another worker take the job at once: this one stops."""
        with suppress(RagError):  # then it is taken when the lease has expired
            async with self._database.transaction() as tx:
                await lease.release(tx)
        await delivery.retry(0.0)


async def _sweep_if_collection_is_gone(tx: Transaction, tenant_id: str, job_id: str) -> None:
    """Have what a job wrote after its collection was swept removed as well.

    A job that has ended while it was worked on was ended with its collection; or it succeeded and only the
    answer of the store got lost: then all must stay.
    """
    uid = await tx.jobs.collection_uid(tenant_id, job_id)
    try:
        await tx.collections.get_by_uid(tenant_id, uid)
    except NotFound:
        await tx.sweeps.add_collection(tenant_id, uid)
