"""Jobs: accepted work, every change of which is an event that a watcher can catch up from."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, literal, select, tuple_
from sqlmodel import col

from rag_server.domain.collection import Chunking
from rag_server.domain.document import NewDocument
from rag_server.domain.ids import new_id
from rag_server.domain.job import Job, JobError, JobProgress, JobState
from rag_server.errors import FailedPrecondition, NotFound
from rag_server.metadata.codecs import chunking_to_json, error_to_json, progress_to_json
from rag_server.metadata.job_rows import document_to_json, event_of, job_at, job_from_row
from rag_server.metadata.revisions import next_revision
from rag_server.metadata.session import Scope
from rag_server.metadata.sweeps import SweepRepository
from rag_server.metadata.tables import UNFINISHED_STATES, JobEventRow, JobRow
from rag_server.metadata.types import UtcDateTime

JobCursor = tuple[datetime, str]
"""`(create_time, id)` of the last job of a page."""


class JobRepository:
    """Jobs and their events."""

    def __init__(self, scope: Scope, sweeps: SweepRepository) -> None:
        self._scope = scope
        self._sweeps = sweeps
        self.changed: list[Job] = []
        """The jobs as they are after each change in this transaction."""

    async def create(
        self,
        tenant_id: str,
        collection_uid: str,
        document: NewDocument,
        *,
        chunking: Chunking,
        content_sha256: str = "",
        fetch_uri: str = "",
        size_bytes: int | None = None,
        request_id: str = "",
    ) -> Job:
        """Accept a job, with the next revision number of its document; event 1 records it.

        Raises `NotFound` for the collection.
        """
        await self._scope.lock_collection(tenant_id, collection_uid)
        now = self._scope.clock()
        row = JobRow(
            tenant_id=tenant_id,
            id=new_id(),
            collection_uid=collection_uid,
            collection_id=document.collection_id,
            document_id=document.document_id,
            document=document_to_json(document),
            chunking=chunking_to_json(chunking),
            content_sha256=content_sha256,
            fetch_uri=fetch_uri,
            document_revision=await next_revision(
                self._scope, tenant_id, collection_uid, document.document_id
            ),
            state=JobState.QUEUED.value,
            progress=progress_to_json(JobProgress(size_bytes=size_bytes)),
            attempt_count=0,
            cancel_requested=False,
            sequence=0,
            request_id=request_id,
            create_time=now,
            update_time=now,
        )
        self._scope.session.add(row)
        return await self._record(row, now)

    async def get(self, tenant_id: str, job_id: str) -> Job:
        """Return the job. Raises `NotFound`."""
        return job_from_row(await self._row(tenant_id, job_id))

    async def collection_uid(self, tenant_id: str, job_id: str) -> str:
        """Return the uid of the collection that the job was accepted for. Raises `NotFound`."""
        return (await self._row(tenant_id, job_id)).collection_uid

    async def list(
        self,
        tenant_id: str,
        *,
        collection_uid: str | None = None,
        states: Container[JobState] | None = None,
        document_id: str | None = None,
        after: JobCursor | None = None,
        limit: int,
    ) -> list[Job]:
        """Return jobs, newest first, from after the cursor on. None: do not filter by it."""
        key = (col(JobRow.create_time), col(JobRow.id))
        statement = select(JobRow).where(col(JobRow.tenant_id) == tenant_id)
        if collection_uid is not None:
            statement = statement.where(col(JobRow.collection_uid) == collection_uid)
        if states is not None:
            statement = statement.where(col(JobRow.state).in_([state.value for state in states]))
        if document_id is not None:
            statement = statement.where(col(JobRow.document_id) == document_id)
        if after is not None:
            statement = statement.where(
                tuple_(*key) < tuple_(literal(after[0], UtcDateTime), literal(after[1]))
            )
        statement = statement.order_by(*(column.desc() for column in key)).limit(limit)
        return [job_from_row(row) for row in await self._scope.session.scalars(statement)]

    async def unfinished(self, *, after: JobCursor | None = None, limit: int = 1000) -> Sequence[Job]:
        """Return jobs of all tenants that are not finished, oldest first, from after the cursor on."""
        key = (col(JobRow.create_time), col(JobRow.id))
        statement = select(JobRow).where(col(JobRow.state).in_(UNFINISHED_STATES))
        if after is not None:
            statement = statement.where(
                tuple_(*key) > tuple_(literal(after[0], UtcDateTime), literal(after[1]))
            )
        statement = statement.order_by(*key).limit(limit)
        return [job_from_row(row) for row in await self._scope.session.scalars(statement)]

    async def count_unfinished(self, tenant_id: str) -> int:
        """Return how many jobs of the tenant are not finished."""
        statement = (
            select(func.count())
            .select_from(JobRow)
            .where(col(JobRow.tenant_id) == tenant_id, col(JobRow.state).in_(UNFINISHED_STATES))
        )
        return (await self._scope.session.scalars(statement)).one()

    async def events_after(
        self, tenant_id: str, job_id: str, sequence: int, *, limit: int = 100
    ) -> Sequence[Job]:
        """Return the job as it was after each change later than `sequence`, in order.

        0 starts at the first. Raises `NotFound`.
        """
        job = await self.get(tenant_id, job_id)
        statement = (
            select(JobEventRow)
            .where(
                col(JobEventRow.tenant_id) == tenant_id,
                col(JobEventRow.job_id) == job_id,
                col(JobEventRow.sequence) > sequence,
            )
            .order_by(col(JobEventRow.sequence))
            .limit(limit)
        )
        return [job_at(job, event) for event in await self._scope.session.scalars(statement)]

    async def change(
        self,
        tenant_id: str,
        job_id: str,
        *,
        state: JobState | None = None,
        progress: JobProgress | None = None,
        error: JobError | None = None,
        attempt_count: int | None = None,
        content_sha256: str | None = None,
        cancel_requested: bool | None = None,
        document: NewDocument | None = None,
    ) -> Job:
        """Change what is not None, and record it as the next event.

        The first state after QUEUED sets `start_time`. A final one sets `end_time` and has what the job
        wrote swept: its chunks, and its bytes unless something else needs them. SUCCEEDED is not
        reached here but by `DocumentRepository.publish`.

        Raises `NotFound` and, when the job is finished, `FailedPrecondition` (`JOB_ALREADY_FINISHED`).
        """
        if state is JobState.SUCCEEDED:
            raise ValueError("a job succeeds by publishing its document")
        row = await self.unfinished_row(tenant_id, job_id, is_locked=True)
        if state is not None:
            row.state = state.value
        if progress is not None:
            row.progress = progress_to_json(progress)
        if error is not None:
            row.error = error_to_json(error)
        if attempt_count is not None:
            row.attempt_count = attempt_count
        if content_sha256 is not None:
            row.content_sha256 = content_sha256
        if cancel_requested is not None:
            row.cancel_requested = cancel_requested
        if document is not None:
            row.document = document_to_json(document)
        return await self.record_change(row)

    async def request_cancel(self, tenant_id: str, job_id: str) -> Job:
        """Cancel a queued job at once; have a running one cancelled by whoever runs it. Idempotent.

        Raises `NotFound` and, when the job is finished, `FailedPrecondition` (`JOB_ALREADY_FINISHED`).
        """
        row = await self.unfinished_row(tenant_id, job_id, is_locked=True)
        if row.state == JobState.QUEUED:
            return await self.change(tenant_id, job_id, state=JobState.CANCELLED, cancel_requested=True)
        if row.cancel_requested:
            return job_from_row(row)
        return await self.change(tenant_id, job_id, cancel_requested=True)

    async def cancel_all_of_document(self, tenant_id: str, collection_uid: str, document_id: str) -> int:
        """Request the cancellation of a document's unfinished jobs; return how many there are."""
        ids = await self._unfinished_ids(tenant_id, collection_uid, document_id)
        for job_id in ids:
            await self.request_cancel(tenant_id, job_id)
        return len(ids)

    async def cancel_all_of_collection(self, tenant_id: str, collection_uid: str) -> None:
        """Make a collection's unfinished jobs CANCELLED, running or not: they have nowhere to write."""
        for job_id in await self._unfinished_ids(tenant_id, collection_uid):
            await self.change(tenant_id, job_id, state=JobState.CANCELLED, cancel_requested=True)

    async def unfinished_row(self, tenant_id: str, job_id: str, *, is_locked: bool = False) -> JobRow:
        """Return the row of a job that may still change. For this package only."""
        row = await self._row(tenant_id, job_id, is_locked=is_locked)
        if row.state not in UNFINISHED_STATES:
            raise FailedPrecondition(
                "JOB_ALREADY_FINISHED",
                f"job {job_id!r} is {row.state} already",
                metadata={"resource": "job", "id": job_id, "state": row.state},
            )
        return row

    async def record_change(self, row: JobRow) -> Job:
        """Stamp and record a changed row. For this package only."""
        now = self._scope.clock()
        state = JobState(row.state)
        if row.start_time is None and state is not JobState.QUEUED:
            row.start_time = now
        if state.is_final:
            row.end_time = now
        if state in {JobState.FAILED, JobState.CANCELLED}:
            await self._sweeps.add_revisions(
                row.tenant_id, row.collection_uid, row.document_id, revision=row.document_revision
            )
            if row.content_sha256:
                await self._sweeps.add_blob(row.tenant_id, row.content_sha256)
        return await self._record(row, now)

    async def _record(self, row: JobRow, now: datetime) -> Job:
        row.sequence += 1
        row.update_time = now
        # the job goes first: its event refers to it
        await self._scope.session.flush()
        job = job_from_row(row)
        self._scope.session.add(event_of(job))
        await self._scope.session.flush()
        self.changed.append(job)
        return job

    async def _row(self, tenant_id: str, job_id: str, *, is_locked: bool = False) -> JobRow:
        statement = select(JobRow).where(col(JobRow.tenant_id) == tenant_id, col(JobRow.id) == job_id)
        if is_locked:
            statement = statement.with_for_update().execution_options(populate_existing=True)
        row = (await self._scope.session.scalars(statement)).one_or_none()
        if row is None:
            raise NotFound.for_resource("job", job_id)
        return row

    async def _unfinished_ids(
        self, tenant_id: str, collection_uid: str, document_id: str | None = None
    ) -> Sequence[str]:
        statement = select(col(JobRow.id)).where(
            col(JobRow.tenant_id) == tenant_id,
            col(JobRow.collection_uid) == collection_uid,
            col(JobRow.state).in_(UNFINISHED_STATES),
        )
        if document_id is not None:
            statement = statement.where(col(JobRow.document_id) == document_id)
        return (await self._scope.session.scalars(statement.order_by(col(JobRow.id)))).all()
