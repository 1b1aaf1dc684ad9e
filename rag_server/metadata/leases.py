"""Leases of jobs: taken by compare-and-set, renewed while the work goes on, void once another has taken them.

Whoever writes for a lease says so by `JobRepository.fence`: the token is then compared under the lock of the
job's row, which taking a lease needs, too. So of a holder and its successor only one can write.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select, update
from sqlmodel import col

from rag_server.domain.ids import new_id
from rag_server.domain.lease import Lease, LeaseLost
from rag_server.metadata.jobs import JobRepository
from rag_server.metadata.session import Scope
from rag_server.metadata.tables import JobLeaseRow


class LeaseRepository:
    """Who works on which job."""

    def __init__(self, scope: Scope, jobs: JobRepository) -> None:
        self._scope = scope
        self._jobs = jobs

    async def acquire(
        self, tenant_id: str, job_id: str, *, owner: str, ttl_s: float, token: str = ""
    ) -> Lease | None:
        """Take the job, if nobody holds it or its holder has let the lease expire; None: it is held.

        Who brings a `token` of its own, never used by another, keeps a lease that it has already: for when
        the answer of the commit was lost.

        Raises `NotFound` and, when the job is finished, `FailedPrecondition` (`JOB_ALREADY_FINISHED`).
        """
        await self._jobs.unfinished_row(tenant_id, job_id, is_locked=True)
        now = self._scope.clock()
        row = await self._row(tenant_id, job_id)
        if row is not None and row.expire_time > now and row.token != token:
            return None
        if row is None:
            row = JobLeaseRow(tenant_id=tenant_id, job_id=job_id, token="", owner="", expire_time=now)
            self._scope.session.add(row)
        row.token, row.owner, row.expire_time = token or new_id(), owner, now + timedelta(seconds=ttl_s)
        await self._scope.session.flush()
        return _to_domain(row)

    async def find(self, tenant_id: str, job_id: str, token: str) -> Lease | None:
        """Return the job's lease, expired or not, if it is the one with this token."""
        row = await self._row(tenant_id, job_id)
        return _to_domain(row) if row is not None and row.token == token else None

    async def remaining_s(self, tenant_id: str, job_id: str) -> float:
        """Return how long the job's lease still lasts, in seconds; 0 when nobody holds it."""
        row = await self._row(tenant_id, job_id)
        return max(0.0, (row.expire_time - self._scope.clock()).total_seconds()) if row else 0.0

    async def renew(self, tenant_id: str, lease: Lease, *, ttl_s: float) -> Lease:
        """Extend a lease, expired or not, that nobody has taken meanwhile. Raises `LeaseLost`."""
        expire_time = self._scope.clock() + timedelta(seconds=ttl_s)
        statement = (
            update(JobLeaseRow)
            .where(*_is(tenant_id, lease))
            .values(expire_time=expire_time)
            .returning(col(JobLeaseRow.token))
        )
        if (await self._scope.session.scalars(statement)).one_or_none() is None:
            raise LeaseLost
        return Lease(tenant_id, lease.job_id, lease.token, lease.owner, expire_time)

    async def release(self, tenant_id: str, lease: Lease) -> None:
        """Let others take the job at once. Does nothing when it is theirs already, or finished."""
        await self._scope.session.execute(delete(JobLeaseRow).where(*_is(tenant_id, lease)))

    async def release_all(self) -> None:
        """End all leases: for a store that one process has to itself, which has just started."""
        await self._scope.session.execute(delete(JobLeaseRow))

    async def _row(self, tenant_id: str, job_id: str) -> JobLeaseRow | None:
        statement = (
            select(JobLeaseRow)
            .where(col(JobLeaseRow.tenant_id) == tenant_id, col(JobLeaseRow.job_id) == job_id)
            .execution_options(populate_existing=True)
        )
        return (await self._scope.session.scalars(statement)).one_or_none()


def _is(tenant_id: str, lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        col(JobLeaseRow.tenant_id) == tenant_id,
        col(JobLeaseRow.job_id) == lease.job_id,
        col(JobLeaseRow.token) == lease.token,
    )


def _to_domain(row: JobLeaseRow) -> Lease:
    return Lease(row.tenant_id, row.job_id, row.token, row.owner, row.expire_time)
