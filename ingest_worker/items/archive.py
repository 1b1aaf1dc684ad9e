"""An archive: every file in it becomes a document below the archive's name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from ingest_worker.cancelled import JobCancelled
from ingest_worker.items.entries import Archive, Entry
from ingest_worker.items.hand_in import ItemDesk
from ingest_worker.lease import HeldLease
from rag_server.domain.archive import MAX_DEPTH, ArchiveBudget
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobKind
from rag_server.domain.naming import document_id_for
from rag_server.errors import InvalidArgument
from rag_server.metadata.database import Database
from rag_server.metadata.parents import ItemOutcome, item_key

_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class ArchiveExpansion:
    """Unpacks archives, one file at a time, into the blob store. Holds no state of its own."""

    database: Database
    desk: ItemDesk
    budget: ArchiveBudget
    """Of an archive that was handed in."""

    async def run(self, job: Job, lease: HeldLease, data: bytes) -> Job:
        """Make a job of each file of the archive `data`; return `job`, which now waits for these.

        Begun anew, it passes over the files that it has made jobs of.

        Raises what `Archive.open` does, `InvalidArgument` (`ARCHIVE_TOO_DEEP`), what may pass, `JobCancelled`
        and `LeaseLost`.
        """
        budget = self._budget_of(job)
        async with lease.transaction() as tx:
            changed = await tx.jobs.change(job.tenant_id, job.id, kind=JobKind.ARCHIVE)
        if changed.cancel_requested:
            raise JobCancelled
        archive = await asyncio.to_thread(Archive.open, data, budget)
        share = _share(budget, archive.entries)
        async with self.database.snapshot() as tx:
            taken = await tx.parents.taken_items(job.tenant_id, job.id)
        for entry in archive.entries:
            if item_key(entry.name) in taken:
                continue
            if entry.is_junk:
                await self.desk.record(job, lease, entry.name, ItemOutcome.SKIPPED)
            elif entry.fault is not None:
                await self.desk.record(job, lease, entry.name, ItemOutcome.FAILED, entry.fault)
            else:
                await self.desk.hand_in(
                    job,
                    lease,
                    entry.name,
                    _document(job, entry),
                    _pieces(archive, entry),
                    archive=share if entry.is_archive else None,
                )
        async with lease.transaction() as tx:
            waiting = await tx.parents.all_found(job.tenant_id, job.id)
            await lease.release(tx)
        return waiting

    def _budget_of(self, job: Job) -> ArchiveBudget:
        budget = job.archive
        if budget is None and not job.parent_id:
            budget = self.budget
        if budget is None or budget.depth > MAX_DEPTH:
            raise InvalidArgument(
                "ARCHIVE_TOO_DEEP",
                "an archive is unpacked that is handed in, or lies in one and has the ending .zip, and none "
                "within that: unpack it and hand in what is in it",
                metadata={"limit_depth": str(MAX_DEPTH)},
            )
        return budget


def _share(budget: ArchiveBudget, entries: tuple[Entry, ...]) -> ArchiveBudget:
    """Return what each archive in this one may unpack to, so that all together stay within the budget."""
    return budget.share(
        entries=len(entries),
        unpacked_bytes=sum(entry.info.file_size for entry in entries),
        archives=sum(entry.is_archive for entry in entries),
    )


def _document(job: Job, entry: Entry) -> NewDocument:
    return NewDocument(
        collection_id=job.document.collection_id,
        document_id=document_id_for(f"{job.document.document_id}/{entry.name}"),
        source_uri=job.document.source_uri,
        file_name=PurePosixPath(entry.name).name[-_MAX_NAME:],
        metadata=job.document.metadata,
    )


async def _pieces(archive: Archive, entry: Entry) -> AsyncIterator[bytes]:
    """Yield the content of an entry, unpacked in threads, a piece at a time."""
    pieces = archive.unpack(entry)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
