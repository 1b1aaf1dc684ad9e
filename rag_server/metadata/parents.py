"""Jobs that make jobs: an archive or a crawl, the items that it finds, and its end with the last of them.

Such a job is under a lease while it looks for items, and under none while it waits for their jobs: the last
of these ends it, in the transaction in which it ends itself. A job is locked before the one that has made it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from enum import StrEnum

from sqlalchemy import delete, select
from sqlmodel import col

from rag_server.domain.archive import ArchiveBudget
from rag_server.domain.document import NewDocument
from rag_server.domain.job import (
    Job,
    JobError,
    JobKind,
    JobProgress,
    JobState,
    Waiting,
)
from rag_server.domain.job_items import MAX_ITEM_ERRORS, ItemError
from rag_server.domain.priority import Priority
from rag_server.metadata.codecs import (
    cutting_from_json,
    error_from_json,
    error_to_json,
    items_from_json,
    items_to_json,
    progress_from_json,
    progress_to_json,
)
from rag_server.metadata.jobs import JobRepository
from rag_server.metadata.session import Scope
from rag_server.metadata.sweeps import SweepRepository
from rag_server.metadata.tables import UNFINISHED_STATES, CrawlStateRow, JobItemRow, JobRow

_MAX_MESSAGE = 500
_MAX_METADATA = 10
_MAX_ITEM_CHARACTERS = 500


class ItemOutcome(StrEnum):
    """What became of an item that needs no job."""

    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    GONE = "gone"
    FAILED = "failed"


class ParentRepository:
    """Archives and crawls, and what they find."""

    def __init__(self, scope: Scope, jobs: JobRepository, sweeps: SweepRepository) -> None:
        self._scope = scope
        self._jobs = jobs
        self._sweeps = sweeps
        jobs.on_final(self._follow)

    async def taken_items(self, tenant_id: str, job_id: str) -> frozenset[str]:
        """Return the keys (`item_key`) of the items that were taken up by an earlier attempt."""
        statement = select(col(JobItemRow.item_key)).where(
            col(JobItemRow.tenant_id) == tenant_id, col(JobItemRow.job_id) == job_id
        )
        return frozenset(await self._scope.session.scalars(statement))

    async def add_child(
        self,
        tenant_id: str,
        job_id: str,
        item: str,
        document: NewDocument,
        *,
        content_sha256: str,
        size_bytes: int,
        archive: ArchiveBudget | None = None,
    ) -> Job:
        """Make a job for an item, unless that was done before; return the job that found it.

        The bytes have to be locked (`BlobRepository.add`). Raises `NotFound` for the job or its collection,
        and `FailedPrecondition` (`JOB_ALREADY_FINISHED`).
        """
        uid = await self._jobs.collection_uid(tenant_id, job_id)
        await self._scope.lock_collection(tenant_id, uid)
        row = await self._jobs.unfinished_row(tenant_id, job_id, is_locked=True)
        if await self._take(row, item):
            await self._jobs.create(
                tenant_id,
                uid,
                document,
                chunking=cutting_from_json(row.chunking),
                content_sha256=content_sha256,
                size_bytes=size_bytes,
                request_id=row.request_id,
                priority=Priority.BULK,
                parent_id=job_id,
                item=item,
                archive=archive,
            )
            progress = progress_from_json(row.progress)
            row.progress = progress_to_json(replace(progress, found_item_count=progress.found_item_count + 1))
        else:  # a page may have other bytes by now, which nothing needs
            await self._sweeps.add_blob(tenant_id, content_sha256)
        return await self._jobs.record_change(row)

    async def record_item(
        self, tenant_id: str, job_id: str, item: str, outcome: ItemOutcome, error: JobError | None = None
    ) -> Job:
        """Count an item that needs no job, unless that was done before; return the job that found it.

        Raises `NotFound` and `FailedPrecondition` (`JOB_ALREADY_FINISHED`).
        """
        row = await self._jobs.unfinished_row(tenant_id, job_id, is_locked=True)
        if await self._take(row, item):
            found = progress_from_json(row.progress)
            found = replace(found, found_item_count=found.found_item_count + 1)
            _count(row, found, outcome)
            if error is not None:
                _keep(row, item, error)
        return await self._jobs.record_change(row)

    async def all_found(self, tenant_id: str, job_id: str) -> Job:
        """Record that no more items will come: the job ends, now or with the last of the jobs it has made.

        Raises `NotFound` and `FailedPrecondition` (`JOB_ALREADY_FINISHED`).
        """
        row = await self._jobs.unfinished_row(tenant_id, job_id, is_locked=True)
        row.state = JobState.INDEXING.value
        row.waiting = Waiting.FOR_CHILDREN.value
        await self.forget_items(tenant_id, job_id)
        return await self._settle(row)

    async def forget_items(self, tenant_id: str, job_id: str) -> None:
        """Forget what only an attempt that is to go on needs: its items, and where a crawl stands."""
        for table in (JobItemRow, CrawlStateRow):
            await self._scope.session.execute(
                delete(table).where(col(table.tenant_id) == tenant_id, col(table.job_id) == job_id)
            )

    async def reopen(self, tenant_id: str, job_id: str, parent_id: str) -> None:
        """Count a failed job as on its way again, should the job that made it not have ended."""
        parent = await self._unfinished(tenant_id, parent_id)
        if parent is None:
            return
        progress = progress_from_json(parent.progress)
        failed = progress.failed_item_count - 1
        parent.progress = progress_to_json(replace(progress, failed_item_count=failed))
        item = _item_of(await self._jobs.row(tenant_id, job_id))
        errors = items_from_json(parent.item_errors)
        parent.item_errors = items_to_json([each for each in errors if each.item != item])
        await self._jobs.record_change(parent)

    async def _follow(self, row: JobRow) -> None:
        """Have a job's end felt by the jobs that it has made, and by the one that has made it."""
        if row.state in {JobState.FAILED, JobState.CANCELLED} and row.kind != JobKind.DOCUMENT:
            await self._jobs.cancel_children(row.tenant_id, row.id)
        parent = await self._unfinished(row.tenant_id, row.parent_id) if row.parent_id else None
        if parent is None:
            return
        progress = progress_from_json(parent.progress)
        if row.state == JobState.SUCCEEDED or _is_searchable(row):
            done = progress.done_item_count + 1
            parent.progress = progress_to_json(replace(progress, done_item_count=done))
        elif row.state == JobState.CANCELLED:
            _count(parent, progress, ItemOutcome.SKIPPED)
        else:
            _count(parent, progress, ItemOutcome.FAILED)
            _keep(parent, _item_of(row), _error_of(row))
        await self._settle(parent)

    async def _settle(self, row: JobRow) -> Job:
        """Record a changed row, and end it when there is nothing left to wait for."""
        progress = progress_from_json(row.progress)
        if row.waiting == Waiting.FOR_CHILDREN and progress.open_item_count == 0:
            row.state = _final_state(progress, cancel_requested=row.cancel_requested).value
            if row.state == JobState.FAILED:
                row.error = error_to_json(_nothing_succeeded(progress))
            elif row.state != JobState.CANCELLED and row.content_sha256:
                # what was in the archive is kept by the documents that it became
                await self._sweeps.add_blob(row.tenant_id, row.content_sha256)
        return await self._jobs.record_change(row)

    async def _unfinished(self, tenant_id: str, job_id: str) -> JobRow | None:
        row = await self._jobs.row(tenant_id, job_id, is_locked=True)
        return row if row.state in UNFINISHED_STATES else None

    async def _take(self, row: JobRow, item: str) -> bool:
        taken = JobItemRow(tenant_id=row.tenant_id, job_id=row.id, item_key=item_key(item))
        return await self._scope.insert_if_absent(taken)


def item_key(item: str) -> str:
    """Return the key of an item: 32 hexadecimal digits, since its name may be of any length."""
    return hashlib.sha256(item.encode("utf-8", "replace")).hexdigest()[:32]


def _count(row: JobRow, progress: JobProgress, outcome: ItemOutcome) -> None:
    match outcome:
        case ItemOutcome.UNCHANGED:
            changed = replace(
                progress,
                done_item_count=progress.done_item_count + 1,
                unchanged_item_count=progress.unchanged_item_count + 1,
            )
        case ItemOutcome.FAILED:
            changed = replace(progress, failed_item_count=progress.failed_item_count + 1)
        case _:
            changed = replace(
                progress,
                skipped_item_count=progress.skipped_item_count + 1,
                gone_item_count=progress.gone_item_count + (outcome is ItemOutcome.GONE),
            )
    row.progress = progress_to_json(changed)


def _is_searchable(row: JobRow) -> bool:
    """Whether a document that was left out in part is there; an archive in an archive has to be whole."""
    return row.state == JobState.PARTIALLY_SUCCEEDED and row.kind == JobKind.DOCUMENT


def _keep(row: JobRow, item: str, error: JobError) -> None:
    kept = items_from_json(row.item_errors)
    if len(kept) < MAX_ITEM_ERRORS:
        details = dict(list(error.metadata.items())[:_MAX_METADATA])
        why = ItemError(item[:_MAX_ITEM_CHARACTERS], error.reason, error.message[:_MAX_MESSAGE], details)
        row.item_errors = items_to_json([*kept, why])


def _item_of(row: JobRow) -> str:
    return str((row.spec or {}).get("item", row.document_id))[:_MAX_ITEM_CHARACTERS]


def _error_of(row: JobRow) -> JobError:
    """Return why a job failed; of an archive that succeeded in part, what was the first in it."""
    own = error_from_json(row.error)
    if own is not None:
        return own
    first = items_from_json(row.item_errors)[0]
    return JobError(first.reason, first.message, first.metadata)


def _final_state(progress: JobProgress, *, cancel_requested: bool) -> JobState:
    if cancel_requested:
        return JobState.CANCELLED
    if not progress.done_item_count:
        return JobState.FAILED
    return JobState.PARTIALLY_SUCCEEDED if progress.failed_item_count else JobState.SUCCEEDED


def _nothing_succeeded(progress: JobProgress) -> JobError:
    return JobError(
        "NO_ITEM_SUCCEEDED",
        f"nothing became a document: {progress.failed_item_count} items failed and "
        f"{progress.skipped_item_count} were left out; the errors of the items say why",
        {"failed": str(progress.failed_item_count), "skipped": str(progress.skipped_item_count)},
    )
