"""Runs a job by what it works on: one document, an archive of many, or a web site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ingest_worker.items.site import SiteCrawl
from ingest_worker.lease import HeldLease
from ingest_worker.pipeline import IngestPipeline
from rag_server.domain.job import Job, JobKind


class Runner(Protocol):
    """Works on jobs."""

    async def run(self, job: Job, lease: HeldLease) -> Job:
        """Take `job` to its end, or as far as it gets now, and return it.

        A job that is returned without having ended has to be run again, unless it waits (`Job.waiting`).
        Raises what the stages raise, `JobCancelled`, and `LeaseLost`: then it is another's.
        """
        ...


@dataclass(frozen=True, slots=True)
class JobRunner:
    """A `Runner` for all kinds of jobs; archives are recognised by the pipeline, from their content."""

    documents: IngestPipeline
    sites: SiteCrawl

    async def run(self, job: Job, lease: HeldLease) -> Job:
        """See `Runner.run`."""
        runner: Runner = self.sites if job.kind is JobKind.CRAWL else self.documents
        return await runner.run(job, lease)
