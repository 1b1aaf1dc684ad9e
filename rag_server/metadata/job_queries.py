"""Jobs as they are, and were: what is asked of them without changing any."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import func, literal, select, tuple_
from sqlmodel import col

from rag_server.domain.job import Job, JobState
from rag_server.errors import NotFound
from rag_server.metadata.job_rows import job_at, job_from_row
from rag_server.metadata.session import IDS_PER_STATEMENT, Scope
from rag_server.metadata.tables import UNFINISHED_STATES, JobEventRow, JobRow
from rag_server.metadata.types import UtcDateTime

JobCursor = tuple[datetime, str]
"""`(create_time, id)` of the last job of a page."""


class JobQueries:
    """Jobs and their events, read."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def get(self, tenant_id: str, job_id: str) -> Job:
        """Return the job. Raises `NotFound`."""
        return job_from_row(await self.row(tenant_id, job_id))

    async def collection_uid(self, tenant_id: str, job_id: str) -> str:
        """Return the uid of the collection that the job was accepted for. Raises `NotFound`."""
        return (await self.row(tenant_id, job_id)).collection_uid

    async def list(
        self,
        tenant_id: str,
        *,
        collection_uid: str | None = None,
        states: Container[JobState] | None = None,
        document_id: str | None = None,
        parent_id: str | None = None,
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
        if parent_id is not None:
            statement = statement.where(col(JobRow.parent_id) == parent_id)
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

    async def documents_being_made(
        self, tenant_id: str, collection_uid: str, document_ids: Iterable[str]
    ) -> dict[str, set[int]]:
        """Return the revisions that unfinished jobs make of each of these documents; none: left out."""
        ids = list(dict.fromkeys(document_ids))
        found: dict[str, set[int]] = {}
        for start in range(0, len(ids), IDS_PER_STATEMENT):
            statement = select(col(JobRow.document_id), col(JobRow.document_revision)).where(
                col(JobRow.tenant_id) == tenant_id,
                col(JobRow.collection_uid) == collection_uid,
                col(JobRow.document_id).in_(ids[start : start + IDS_PER_STATEMENT]),
                col(JobRow.state).in_(UNFINISHED_STATES),
            )
            for document_id, revision in await self._scope.session.execute(statement):
                found.setdefault(document_id, set()).add(revision)
        return found

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

    async def row(self, tenant_id: str, job_id: str, *, is_locked: bool = False) -> JobRow:
        """Return the row of a job. For this package only. Raises `NotFound`."""
        statement = select(JobRow).where(col(JobRow.tenant_id) == tenant_id, col(JobRow.id) == job_id)
        if is_locked:
            statement = statement.with_for_update().execution_options(populate_existing=True)
        row = (await self._scope.session.scalars(statement)).one_or_none()
        if row is None:
            raise NotFound.for_resource("job", job_id)
        return row
