"""Hands in one item: its bytes into the blob store, a job for it below the job that found it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from ingest_worker.cancelled import JobCancelled
from ingest_worker.lease import HeldLease
from ingest_worker.parse import faults
from rag_server.backends.protocols import BlobStore
from rag_server.domain.archive import ArchiveBudget
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobError
from rag_server.errors import RagError
from rag_server.failpoints import failpoint
from rag_server.metadata.database import Transaction
from rag_server.metadata.parents import ItemOutcome

Beside = Callable[[Transaction], Awaitable[object]]
"""What is recorded in the same transaction."""


async def nothing(tx: Transaction) -> None:
    """Record nothing beside an item."""


@dataclass(frozen=True, slots=True)
class ItemDesk:
    """Takes items one by one. What it took is taken once, however often the job that finds it begins anew."""

    blobs: BlobStore
    max_document_bytes: int

    async def hand_in(
        self,
        job: Job,
        lease: HeldLease,
        item: str,
        document: NewDocument,
        data: AsyncIterator[bytes],
        *,
        archive: ArchiveBudget | None = None,
        beside: Beside = nothing,
    ) -> None:
        """Make a job for the item; an item that cannot be one is recorded with its error, and no more.

        Raises what may pass (`RagError` with `is_retryable`), `JobCancelled` and `LeaseLost`.
        """
        try:
            staged = await self.blobs.stage(job.tenant_id, data, limit_bytes=self.max_document_bytes)
        except RagError as error:
            if error.is_retryable:
                raise
            await self.record(job, lease, item, ItemOutcome.FAILED, error, beside=beside)
            return
        try:
            if staged.size_bytes == 0:
                await self.record(job, lease, item, ItemOutcome.FAILED, faults.empty(), beside=beside)
                return
            failpoint("item.before")
            async with lease.transaction() as tx:
                await tx.blobs.add(job.tenant_id, staged.sha256, staged.size_bytes)
                await staged.keep()
                found_by = await tx.parents.add_child(
                    job.tenant_id,
                    job.id,
                    item,
                    document,
                    content_sha256=staged.sha256,
                    size_bytes=staged.size_bytes,
                    archive=archive,
                )
                await beside(tx)
                _check_wanted(found_by)
            failpoint("item.after")
        finally:
            await staged.discard()

    async def record(
        self,
        job: Job,
        lease: HeldLease,
        item: str,
        outcome: ItemOutcome,
        error: RagError | None = None,
        *,
        beside: Beside = nothing,
    ) -> None:
        """Record what became of an item that needs no job. Raises `JobCancelled` and `LeaseLost`."""
        reported = None if error is None else JobError(error.reason, error.message, error.metadata)
        async with lease.transaction() as tx:
            found_by = await tx.parents.record_item(job.tenant_id, job.id, item, outcome, reported)
            await beside(tx)
            _check_wanted(found_by)


def _check_wanted(job: Job) -> None:
    """Raise `JobCancelled`, which undoes the transaction, where nobody wants more items."""
    if job.cancel_requested:
        raise JobCancelled
