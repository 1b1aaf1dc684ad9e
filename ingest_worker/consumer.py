"""Takes jobs from the queue and sees each to a final state: done, failed, cancelled, or tried again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog
from structlog.contextvars import bound_contextvars

from ingest_worker.pipeline import IngestPipeline, JobCancelled
from rag_server.backends.protocols import JobQueue, JobRef
from rag_server.domain.job import Job, JobError, JobState
from rag_server.errors import FailedPrecondition, Internal, NotFound, RagError
from rag_server.logs import where_raised
from rag_server.metadata.database import Database, Transaction

log = structlog.get_logger()

_MAX_BACKOFF_S = 60.0


class Consumer:
    """Works on up to `concurrency` jobs at once; calls `on_ended` after each, since it may have left rows."""

    def __init__(
        self,
        queue: JobQueue,
        database: Database,
        pipeline: IngestPipeline,
        on_ended: Callable[[], None],
        *,
        concurrency: int,
        max_attempts: int,
        max_starts: int,
        backoff_s: float,
    ) -> None:
        self._queue = queue
        self._database = database
        self._pipeline = pipeline
        self._on_ended = on_ended
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._max_starts = max_starts
        self._backoff_s = backoff_s
        self._working: set[JobRef] = set()
        self._delayed: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Consume until cancelled. A job that is cut off thereby is taken up again at the next start."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(self._consume())
        finally:
            for task in self._delayed:
                task.cancel()

    async def _consume(self) -> None:
        while True:
            ref = await self._queue.take()
            with bound_contextvars(job=ref.job_id):
                if ref in self._working:  # twice in the queue: once is enough
                    continue
                self._working.add(ref)
                try:
                    await self._work(ref)
                    self._on_ended()
                except RagError as error:
                    # The store of the jobs itself is down: nothing can be recorded now.
                    log.error("job cannot be recorded", reason=error.reason)
                    self._publish_later(ref, _MAX_BACKOFF_S)
                finally:
                    self._working.discard(ref)

    async def _work(self, ref: JobRef) -> None:
        try:
            async with self._database.transaction() as tx:
                job = await tx.jobs.get(ref.tenant_id, ref.job_id)
                job = await tx.jobs.change(
                    ref.tenant_id, ref.job_id, state=JobState.FETCHING, attempt_count=job.attempt_count + 1
                )
        except (NotFound, FailedPrecondition):
            return  # ended while it waited
        if job.attempt_count > self._max_starts:
            # It has taken the process with it each time, or it never comes to its end: no more of that.
            message = f"given up after {self._max_starts} starts"
            await self._change(job, JobState.FAILED, JobError("ATTEMPTS_EXHAUSTED", message))
            return
        with bound_contextvars(request_id=job.request_id):  # leads from the call to its job in the log
            await self._run(job)

    async def _run(self, job: Job) -> None:
        try:
            job = await self._pipeline.run(job)
        except JobCancelled:
            await self._change(job, JobState.CANCELLED, None)
        except RagError as error:
            await self._fail(job, error)
        except Exception as error:  # noqa: BLE001 - the boundary: one job must not take the worker down
            log.error("unhandled exception", where=where_raised(error))
            await self._fail(job, Internal("INTERNAL", "internal error; the server's log has it"))
        else:
            log.info("job ended", state=job.state, chunks=job.progress.chunk_count)

    async def _fail(self, job: Job, error: RagError) -> None:
        """Have the job tried again where that may help, else end it."""
        if error.is_retryable and job.attempt_count < self._max_attempts:
            delay = min(self._backoff_s * 2 ** (job.attempt_count - 1), _MAX_BACKOFF_S)
            delay *= random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
            log.warning("job will be tried again", reason=error.reason, attempt=job.attempt_count, in_s=delay)
            await self._change(job, JobState.QUEUED, None)
            self._publish_later(JobRef(job.tenant_id, job.id), delay)
        else:
            reported = JobError(error.reason, error.message, error.metadata)
            if await self._change(job, JobState.FAILED, reported):
                log.warning("job failed", reason=error.reason)

    async def _change(self, job: Job, state: JobState, error: JobError | None) -> bool:
        """Record the new state; return False when the job has ended otherwise meanwhile."""
        async with self._database.transaction() as tx:
            try:
                await tx.jobs.change(job.tenant_id, job.id, state=state, error=error)
            except FailedPrecondition:
                await _sweep_if_collection_is_gone(tx, job)
                return False
            else:
                return True

    def _publish_later(self, ref: JobRef, delay_s: float) -> None:
        async def publish() -> None:
            await asyncio.sleep(delay_s)
            await self._queue.publish(ref)

        task = asyncio.create_task(publish())
        self._delayed.add(task)
        task.add_done_callback(self._delayed.discard)


async def _sweep_if_collection_is_gone(tx: Transaction, job: Job) -> None:
    """Have what a job wrote after its collection was swept removed as well.

    A job that has ended while it was worked on was ended with its collection; or it succeeded and only the
    answer of the store got lost: then all must stay.
    """
    uid = await tx.jobs.collection_uid(job.tenant_id, job.id)
    try:
        await tx.collections.get_by_uid(job.tenant_id, uid)
    except NotFound:
        await tx.sweeps.add_collection(job.tenant_id, uid)
