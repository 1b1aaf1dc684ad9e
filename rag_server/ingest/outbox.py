"""The relay: hands the jobs of the outbox to the queue, each tenant's by turns.

A job and its outbox row are committed together, and the row goes when the queue has confirmed the message: a
crash in between publishes twice, never not at all. Any number of processes may run a relay on one database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from rag_server.backends.protocols import JobMessage, JobQueue
from rag_server.domain.job import Job, JobState
from rag_server.domain.outbox import OutboxEntry
from rag_server.domain.priority import Priority
from rag_server.errors import RagError
from rag_server.failpoints import failpoint
from rag_server.metadata.database import Database

log = structlog.get_logger()

_BATCH = 256
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05
"""Between two looks at a queue that was full."""
_AFTER_FAILURE_S = 1.0
_STRANDED_ROUND_S = 60.0


class OutboxRelay:
    """Publishes until cancelled: at once what this process accepts, after `poll_s` what others left.

    `stranded_after_s`: a job that nobody holds and that has not changed for so long is published again, since
    the queue must have lost it.
    """

    def __init__(
        self, database: Database, queue: JobQueue, *, poll_s: float, stranded_after_s: float
    ) -> None:
        self._database = database
        self._queue = queue
        self._poll_s = poll_s
        self._stranded_after = timedelta(seconds=stranded_after_s)
        self._due = asyncio.Event()
        self._last_tenant = dict.fromkeys(Priority, "")
        database.on_jobs_changed(self._notice)

    def wake(self) -> None:
        """Look at the outbox now."""
        self._due.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        pause_s = _SHORTEST_PAUSE_S
        next_search = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._due.clear()
            try:
                if loop.time() >= next_search:
                    await self.find_stranded()
                    next_search = loop.time() + _STRANDED_ROUND_S
                published, is_empty = await self.publish()
            except RagError as error:
                log.warning("outbox cannot be published, will be tried again", reason=error.reason)
                await asyncio.sleep(_AFTER_FAILURE_S)
                continue
            if is_empty:
                await self._wait(self._poll_s)
            elif published:
                pause_s = _SHORTEST_PAUSE_S
            else:  # there is no room: the event of a new job would not make any
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def publish(self) -> tuple[int, bool]:
        """Publish what there is room for; return how many, and whether nothing is left."""
        published, is_empty = 0, True
        for priority in Priority:
            async with self._database.snapshot() as tx:
                if await tx.outbox.is_empty(priority):
                    continue
            is_empty = False
            room = await self._queue.room(priority)
            if room:
                published += await self._publish(priority, min(room, _BATCH))
        return published, is_empty

    async def find_stranded(self) -> int:
        """Put jobs back into the outbox of which the queue must have lost the message."""
        async with self._database.transaction() as tx:
            count = await tx.outbox.add_stranded(datetime.now(UTC) - self._stranded_after)
        if count:
            log.warning("jobs were lost by the queue and are published again", count=count)
        return count

    async def _publish(self, priority: Priority, limit: int) -> int:
        async with self._database.transaction() as tx:
            entries = await tx.outbox.next_batch(
                priority, after_tenant=self._last_tenant[priority], limit=limit
            )
            if not entries:
                return 0
            failpoint("publish.before")
            safe = await self._queue.publish([_message(entry) for entry in entries])
            failpoint("publish.after")
            await tx.outbox.remove(_entries_of(entries, safe))
        self._last_tenant[priority] = entries[-1].tenant_id
        if len(safe) < len(entries):
            log.warning("queue did not take all jobs", left=len(entries) - len(safe))
        return len(safe)

    async def _wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._due.wait()
        except TimeoutError:
            return

    def _notice(self, changed: Sequence[Job]) -> None:
        # a job that is tried again is QUEUED, too, and mostly not in the outbox: a look too many does no harm
        if any(job.state is JobState.QUEUED for job in changed):
            self._due.set()


def _message(entry: OutboxEntry) -> JobMessage:
    return JobMessage(entry.tenant_id, entry.job_id, entry.priority, entry.trace_parent)


def _entries_of(entries: Sequence[OutboxEntry], messages: Sequence[JobMessage]) -> list[OutboxEntry]:
    keys = {(message.tenant_id, message.job_id) for message in messages}
    return [entry for entry in entries if (entry.tenant_id, entry.job_id) in keys]
