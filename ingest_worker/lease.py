"""The lease that a job is worked on under: kept alive, and checked with everything that is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from rag_server.domain.lease import Lease, LeaseLost
from rag_server.errors import RagError
from rag_server.metadata.database import Database, Transaction

log = structlog.get_logger()

RENEWALS_PER_TTL = 3


class HeldLease:
    """A lease that this process holds, as far as it knows."""

    def __init__(self, database: Database, lease: Lease, ttl_s: float) -> None:
        self._database = database
        self._lease = lease
        self._ttl_s = ttl_s
        # our own clock: the one in the database may be another machine's
        self._end = asyncio.get_running_loop().time() + ttl_s

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a write transaction that can change the job only as long as the lease is ours.

        Raises `LeaseLost`, and then nothing of the transaction has happened.
        """
        async with self._database.transaction() as tx:
            tx.jobs.fence(self._lease.tenant_id, self._lease.job_id, self._lease.token)
            yield tx

    async def ensure(self) -> None:
        """Return at once while the lease lasts, else renew it: before a write without a transaction.

        Raises `LeaseLost` when it is another's by now.
        """
        if self.has_ended:
            await self._renew()

    @property
    def has_ended(self) -> bool:
        """Whether another may have taken it by now."""
        return asyncio.get_running_loop().time() >= self._end

    async def _renew(self) -> None:
        start = asyncio.get_running_loop().time()
        async with self._database.transaction() as tx:
            await tx.leases.renew(self._lease.tenant_id, self._lease, ttl_s=self._ttl_s)
        self._end = start + self._ttl_s

    async def keep(self) -> None:
        """Renew the lease until cancelled. Raises `LeaseLost` when that did not succeed in time."""
        while True:
            await asyncio.sleep(self._ttl_s / RENEWALS_PER_TTL)
            try:
                await self._renew()
            except RagError as error:
                log.warning("lease cannot be renewed", reason=error.reason)
                if self.has_ended:
                    raise LeaseLost from error

    async def release(self, tx: Transaction) -> None:
        """Let others take the job, once `tx` commits."""
        await tx.leases.release(self._lease.tenant_id, self._lease)
