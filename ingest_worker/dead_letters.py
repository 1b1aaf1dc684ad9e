"""Records what the queue has given up: the job fails, and can be revived by `RetryJob`.

A message is given up when a worker says so, which has recorded the failure itself, or when it was delivered
too often without an answer: whoever took it died before anything could be recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from rag_server.backends.protocols import JobQueue
from rag_server.domain.job import JobError, JobState
from rag_server.errors import FailedPrecondition, NotFound, RagError
from rag_server.metadata.database import Database

log = structlog.get_logger()

_AFTER_FAILURE_S = 5.0


class DeadLetterRecorder:
    """Takes dead letters one by one."""

    def __init__(self, queue: JobQueue, database: Database, on_ended: Callable[[], None]) -> None:
        self._queue = queue
        self._database = database
        self._on_ended = on_ended

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            delivery = await self._queue.take_dead()
            message = delivery.message
            while True:
                try:
                    await self._record(message.tenant_id, message.job_id)
                    break
                except RagError as error:
                    log.error("dead letter cannot be recorded", reason=error.reason, job=message.job_id)
                    await asyncio.sleep(_AFTER_FAILURE_S)
            await delivery.ack()
            self._on_ended()

    async def _record(self, tenant_id: str, job_id: str) -> None:
        error = JobError("ATTEMPTS_EXHAUSTED", "given up: it was handed out too often without an answer")
        try:
            async with self._database.transaction() as tx:
                lease = await tx.leases.acquire(tenant_id, job_id, owner="dead letters", ttl_s=1.0)
                if lease is None:
                    return  # another message of the job is being worked on: that one decides
                if (await tx.jobs.get(tenant_id, job_id)).waiting:
                    await tx.leases.release(tenant_id, lease)
                    return  # the message was one too many: what the job waits for ends it
                await tx.jobs.change(tenant_id, job_id, state=JobState.FAILED, error=error)
        except (NotFound, FailedPrecondition):
            return  # it has ended already
        log.error("job was given up by the queue", job=job_id)
