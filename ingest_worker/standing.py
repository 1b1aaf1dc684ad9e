"""Where a job stands: recorded as it goes, and at short intervals where a stage is one long piece of work.

Each record is a point where a job can stop: one that nobody wants any longer does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from ingest_worker.cancelled import JobCancelled
from ingest_worker.lease import HeldLease
from rag_server.domain.job import Job, JobProgress, JobState
from rag_server.metadata.database import Database

LOOK_S: Final = 0.25
"""Between two looks at a document that is being read or cut: how far is it, and is it still wanted."""
SIGN_OF_LIFE_S: Final = 0.5
"""After which a job that has got no further is recorded all the same. Who watches it is to see a change every
second; writing takes its time, too, beside a thread that cuts."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Standing:
    """Records where one job stands, under its lease."""

    database: Database
    job: Job
    lease: HeldLease

    async def enter(self, state: JobState, progress: JobProgress) -> None:
        """Record state and progress. Raises `JobCancelled`, `LeaseLost`."""
        async with self.lease.transaction() as tx:
            changed = await tx.jobs.change(self.job.tenant_id, self.job.id, state=state, progress=progress)
        if changed.cancel_requested:
            raise JobCancelled

    async def watch(self, state: JobState, work: asyncio.Task[T], so_far: Callable[[], JobProgress]) -> T:
        """Return what `work` does; record how far it is meanwhile, and end it when nobody wants it."""
        loop = asyncio.get_running_loop()
        recorded, recorded_at = so_far(), loop.time()
        try:
            while not (await asyncio.wait({work}, timeout=LOOK_S))[0]:
                progress = so_far()
                if progress != recorded or loop.time() - recorded_at >= SIGN_OF_LIFE_S:
                    recorded, recorded_at = progress, loop.time()
                    await self.enter(state, progress)
                else:
                    await self._check_wanted()
            return await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _check_wanted(self) -> None:
        """Raise `JobCancelled` where somebody asked for the job to stop."""
        async with self.database.snapshot() as tx:
            if (await tx.jobs.get(self.job.tenant_id, self.job.id)).cancel_requested:
                raise JobCancelled
