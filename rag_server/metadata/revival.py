"""Reviving failed jobs, and forgetting what that would need when nobody has come for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import literal, select
from sqlmodel import col

from rag_server.domain.job import Job, JobKind, JobProgress, JobState, Waiting
from rag_server.domain.priority import Priority
from rag_server.errors import FailedPrecondition
from rag_server.metadata.blobs import BlobRepository
from rag_server.metadata.codecs import progress_to_json
from rag_server.metadata.crawls import CrawlRepository
from rag_server.metadata.jobs import JobRepository
from rag_server.metadata.outbox import OutboxRepository
from rag_server.metadata.parents import ParentRepository
from rag_server.metadata.revisions import next_revision
from rag_server.metadata.session import Scope
from rag_server.metadata.sweeps import SweepRepository
from rag_server.metadata.tables import JobRow
from rag_server.metadata.types import UtcDateTime


class RevivalRepository:
    """Failed jobs, as long as their bytes are kept."""

    def __init__(
        self,
        scope: Scope,
        jobs: JobRepository,
        outbox: OutboxRepository,
        blobs: BlobRepository,
        sweeps: SweepRepository,
        parents: ParentRepository,
        crawls: CrawlRepository,
    ) -> None:
        self._scope = scope
        self._jobs = jobs
        self._outbox = outbox
        self._blobs = blobs
        self._sweeps = sweeps
        self._parents = parents
        self._crawls = crawls

    async def revive(self, tenant_id: str, job_id: str, *, trace_parent: str = "") -> Job:
        """Queue a failed job again, as if its document had been handed in just now.

        It gets a new revision of its document: what is left of the old one may still be about to be swept. An
        archive or a crawl begins anew; a crawl may have to wait for another.

        Raises `NotFound` for the job or its collection, and `FailedPrecondition`: `JOB_NOT_FAILED`, or
        `JOB_CONTENT_GONE` when its bytes are not kept any longer and it has no URI to fetch them from.
        """
        uid = await self._jobs.collection_uid(tenant_id, job_id)
        await self._scope.lock_collection(tenant_id, uid)
        row = await self._jobs.row(tenant_id, job_id, is_locked=True)
        if row.state != JobState.FAILED:
            raise FailedPrecondition(
                "JOB_NOT_FAILED",
                f"job {job_id!r} is {row.state}: only a failed job can be tried again",
                metadata={"resource": "job", "id": job_id, "state": row.state},
            )
        size = await self._blobs.size(tenant_id, row.content_sha256)
        if size is None:
            if not row.fetch_uri and row.kind != JobKind.CRAWL:
                raise FailedPrecondition(
                    "JOB_CONTENT_GONE",
                    f"the bytes of job {job_id!r} are not kept any longer: hand in the document again",
                    metadata={"resource": "job", "id": job_id},
                )
            row.content_sha256 = ""
        row.state = JobState.QUEUED.value
        row.error = row.item_errors = None
        row.attempt_count = 0
        row.cancel_requested = False
        row.progress = progress_to_json(JobProgress(size_bytes=size))
        if row.kind == JobKind.CRAWL:
            row.waiting = (await self._crawls.turn(tenant_id, uid, besides=job_id)).value
        else:
            row.kind = JobKind.DOCUMENT.value  # until its content is known again
            row.document_revision = await next_revision(self._scope, tenant_id, uid, row.document_id)
        row.item_errors = None
        await self._parents.forget_items(tenant_id, job_id)
        row.start_time = row.end_time = None
        job = await self._jobs.record_change(row)
        if row.parent_id:
            await self._parents.reopen(tenant_id, job_id, row.parent_id)
        if job.waiting is Waiting.FOR_NOTHING:
            await self._outbox.add(tenant_id, job_id, Priority(row.priority), trace_parent=trace_parent)
        return job

    async def forget(self, before: datetime, *, limit: int = 500) -> int:
        """Give up the bytes of jobs of all tenants that failed before that time; return of how many."""
        statement = (
            select(JobRow)
            .where(
                col(JobRow.state) == JobState.FAILED.value,
                col(JobRow.end_time) < literal(before, UtcDateTime),
                col(JobRow.content_sha256) != "",
            )
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows: Sequence[JobRow] = (await self._scope.session.scalars(statement)).all()
        for row in rows:
            await self._sweeps.add_blob(row.tenant_id, row.content_sha256)
            row.content_sha256 = ""
        await self._scope.session.flush()
        return len(rows)
