"""Following a job: every change once, in order, pushed when it happens."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager

from rag_server.domain.job import Job
from rag_server.errors import InvalidArgument, Unavailable
from rag_server.metadata.database import Database


class JobFeed:
    """Tells watchers in this process that a job has changed. Costs nothing for jobs that nobody watches."""

    def __init__(self) -> None:
        self._watchers: dict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)
        self.closing = asyncio.Event()
        """Set when the server stops."""

    def notify(self, jobs: Iterable[Job]) -> None:
        """Wake the watchers of `jobs`."""
        self.notify_keys((job.tenant_id, job.id) for job in jobs)

    def notify_keys(self, keys: Iterable[tuple[str, str]]) -> None:
        """Wake the watchers of the jobs with these tenants and ids."""
        for key in keys:
            for changed in self._watchers.get(key, ()):
                changed.set()

    def notify_all(self) -> None:
        """Wake all watchers: changes may have been missed."""
        self.notify_keys(list(self._watchers))

    def close(self) -> None:
        """Wake all watchers for the last time: the server stops."""
        self.closing.set()
        self.notify_all()

    def check_open(self) -> None:
        """Raise `Unavailable` (`SERVER_STOPPING`) once the feed is closed."""
        if self.closing.is_set():
            raise Unavailable("SERVER_STOPPING", "the server is stopping: resume with the last cursor")

    @contextmanager
    def subscribe(self, tenant_id: str, job_id: str) -> Iterator[asyncio.Event]:
        """Return an event that is set at each change of the job."""
        key = (tenant_id, job_id)
        changed = asyncio.Event()
        self._watchers[key].add(changed)
        try:
            yield changed
        finally:
            self._watchers[key].discard(changed)
            if not self._watchers[key]:
                del self._watchers[key]


async def watch_job(
    database: Database, feed: JobFeed, tenant_id: str, job_id: str, *, after_sequence: int | None
) -> AsyncGenerator[Job, None]:
    """Yield the job after each change later than `after_sequence`, ending with its final state.

    None starts with the job as it is. The changes are read from the store, where each has a number; the
    feed only says when to look, so none is missed however slow the reader is. Raises `NotFound`,
    `InvalidArgument` (`INVALID_CURSOR`) for a change that has not happened yet, and `Unavailable` when the
    server stops.
    """
    with feed.subscribe(tenant_id, job_id) as changed:
        async with database.snapshot() as tx:
            sequence = (await tx.jobs.get(tenant_id, job_id)).sequence
        if after_sequence is None:
            after_sequence = sequence - 1
        elif after_sequence > sequence:
            raise invalid_cursor()
        while True:
            changed.clear()
            async with database.snapshot() as tx:
                job = await tx.jobs.get(tenant_id, job_id)
                events = await tx.jobs.events_after(tenant_id, job_id, after_sequence)
            for event in events:
                yield event
                after_sequence = event.sequence
            if job.state.is_final and after_sequence >= job.sequence:
                return
            if events and after_sequence < job.sequence:
                continue  # more than one look returns
            # a change since the look has set it
            if not changed.is_set():
                feed.check_open()
                await changed.wait()


def invalid_cursor() -> InvalidArgument:
    """Return the error for a cursor that no watch of the job has sent."""
    return InvalidArgument.for_field(
        "cursor", "is not a cursor of this job: start again without one", reason="INVALID_CURSOR"
    )
