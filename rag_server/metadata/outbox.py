"""The outbox towards the job queue: a row is written with its job, and goes when the queue has confirmed.

It is also where fairness between tenants is made: jobs wait here, each tenant's in its own line, and leave by
turns (docs/decisions/0014).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain, zip_longest

from sqlalchemy import ColumnElement, Insert, String, delete, exists, func, insert, literal, select, tuple_
from sqlmodel import col

from rag_server.domain.ids import new_id
from rag_server.domain.job import Waiting
from rag_server.domain.outbox import OutboxEntry
from rag_server.domain.priority import Priority
from rag_server.metadata.session import IDS_PER_STATEMENT, Scope
from rag_server.metadata.tables import UNFINISHED_STATES, JobLeaseRow, JobRow, OutboxRow
from rag_server.metadata.types import UtcDateTime


class OutboxRepository:
    """Jobs that wait to be published."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add(self, tenant_id: str, job_id: str, priority: Priority, *, trace_parent: str = "") -> bool:
        """Have a job published; return False when it waits already, or is not the tenant's."""
        row = OutboxRow(
            tenant_id=tenant_id,
            job_id=job_id,
            id=new_id(),
            priority=int(priority),
            trace_parent=trace_parent,
            create_time=self._scope.clock(),
        )
        return await self._scope.insert_if_absent(row)

    async def waiting(self, *, up_to: int) -> int:
        """Return how many jobs of all tenants wait; counts no further than `up_to`."""
        some = select(literal(1)).select_from(OutboxRow).limit(up_to).subquery()
        return (await self._scope.session.scalars(select(func.count()).select_from(some))).one()

    async def is_empty(self, priority: Priority) -> bool:
        """Whether no job of this priority waits."""
        statement = select(~exists().where(col(OutboxRow.priority) == int(priority)))
        return bool((await self._scope.session.scalars(statement)).one())

    async def next_batch(self, priority: Priority, *, after_tenant: str, limit: int) -> Sequence[OutboxEntry]:
        """Return up to `limit` jobs, one of each tenant by turns, oldest first within a tenant.

        The turns begin with the tenant that follows `after_tenant`. Rows that another transaction has under
        way are passed over (PostgreSQL; on SQLite there is no other).
        """
        tenants = await self._tenants(priority, after_tenant, limit)
        if not tenants:
            return []
        share = -(-limit // len(tenants))
        lines = [await self._line(priority, tenant_id, share) for tenant_id in tenants]
        by_turns = chain.from_iterable(zip_longest(*lines))
        return [entry for entry in by_turns if entry is not None][:limit]

    async def remove(self, entries: Sequence[OutboxEntry]) -> None:
        """Cross out what the queue has confirmed."""
        keys = [(entry.tenant_id, entry.job_id) for entry in entries]
        for start in range(0, len(keys), IDS_PER_STATEMENT):
            await self._scope.session.execute(
                delete(OutboxRow).where(
                    tuple_(col(OutboxRow.tenant_id), col(OutboxRow.job_id)).in_(
                        keys[start : start + IDS_PER_STATEMENT]
                    )
                )
            )

    async def add_unfinished(self) -> int:
        """Have every unfinished job published that waits for no other; return how many were added.

        For a queue that forgets.
        """
        return await self._insert()

    async def add_stranded(self, before: datetime) -> int:
        """Have the jobs published of which the queue must have lost the message; return how many there are.

        Such a job has not changed since `before`, nobody holds it, and it does not wait here. Publishing one
        too many does no harm.
        """
        held = exists().where(
            col(JobLeaseRow.tenant_id) == col(JobRow.tenant_id),
            col(JobLeaseRow.job_id) == col(JobRow.id),
            col(JobLeaseRow.expire_time) > literal(before, UtcDateTime),
        )
        return await self._insert(col(JobRow.update_time) < literal(before, UtcDateTime), ~held)

    async def _insert(self, *conditions: ColumnElement[bool]) -> int:
        waits = exists().where(
            col(OutboxRow.tenant_id) == col(JobRow.tenant_id), col(OutboxRow.job_id) == col(JobRow.id)
        )
        jobs = select(
            col(JobRow.tenant_id),
            col(JobRow.id),
            col(JobRow.id),  # ids are ordered by time: the order of acceptance is kept
            col(JobRow.priority),
            literal("", String),
            literal(self._scope.clock(), UtcDateTime),
        ).where(
            col(JobRow.state).in_(UNFINISHED_STATES),
            col(JobRow.waiting) == Waiting.FOR_NOTHING.value,
            ~waits,
            *conditions,
        )
        names = ["tenant_id", "job_id", "id", "priority", "trace_parent", "create_time"]
        statement: Insert = insert(OutboxRow).from_select(names, jobs)
        result = await self._scope.session.execute(statement.returning(col(OutboxRow.job_id)))
        return len(result.all())

    async def _tenants(self, priority: Priority, after_tenant: str, limit: int) -> list[str]:
        """Return tenants with waiting jobs, those after `after_tenant` first, then the others."""
        later = await self._tenants_after(priority, after_tenant, limit)
        if len(later) == limit:
            return later
        earlier = await self._tenants_after(priority, "", limit - len(later))
        return later + [each for each in earlier if each not in later]

    async def _tenants_after(self, priority: Priority, tenant_id: str, limit: int) -> list[str]:
        # From one tenant to the next by the index: `DISTINCT` would read each of their jobs.
        tenant = col(OutboxRow.tenant_id)
        is_ours = col(OutboxRow.priority) == int(priority)
        found = (
            select(func.min(tenant).label("tenant_id"))
            .where(is_ours, tenant > tenant_id)
            .cte("tenants", recursive=True)
        )
        following = select(func.min(tenant)).where(is_ours, tenant > found.c.tenant_id).scalar_subquery()
        found = found.union_all(select(following).where(found.c.tenant_id.is_not(None)))
        statement = select(found.c.tenant_id).where(found.c.tenant_id.is_not(None)).limit(limit)
        return list(await self._scope.session.scalars(statement))

    async def _line(self, priority: Priority, tenant_id: str, limit: int) -> list[OutboxEntry]:
        statement = (
            select(OutboxRow)
            .where(col(OutboxRow.priority) == int(priority), col(OutboxRow.tenant_id) == tenant_id)
            .order_by(col(OutboxRow.id))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = await self._scope.session.scalars(statement)
        return [
            OutboxEntry(row.tenant_id, row.job_id, Priority(row.priority), row.trace_parent) for row in rows
        ]
