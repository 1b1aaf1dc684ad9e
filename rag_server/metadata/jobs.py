"""Jobs: accepted work, every change of which is an event that a watcher can catch up from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlmodel import col

from rag_server.domain.archive import ArchiveBudget
from rag_server.domain.crawl import CrawlRequest
from rag_server.domain.document import NewDocument
from rag_server.domain.ids import new_id
from rag_server.domain.job import SUCCESSES, Job, JobError, JobKind, JobProgress, JobState, Waiting
from rag_server.domain.job_items import ItemError
from rag_server.domain.lease import LeaseLost
from rag_server.domain.priority import Priority
from rag_server.domain.records import Cutting
from rag_server.domain.webhook import Webhook
from rag_server.errors import FailedPrecondition
from rag_server.metadata.codecs import (
    cutting_to_json,
    error_to_json,
    items_to_json,
    progress_to_json,
    spec_to_json,
    webhook_to_json,
)
from rag_server.metadata.job_queries import JobQueries
from rag_server.metadata.job_rows import document_to_json, event_of, job_from_row
from rag_server.metadata.outbox import OutboxRepository
from rag_server.metadata.revisions import next_revision
from rag_server.metadata.session import Scope
from rag_server.metadata.sweeps import SweepRepository
from rag_server.metadata.tables import UNFINISHED_STATES, JobLeaseRow, JobRow, OutboxRow
from rag_server.metadata.webhooks import WebhookRepository


class JobRepository(JobQueries):
    """Jobs and their events, read and changed."""

    def __init__(
        self, scope: Scope, sweeps: SweepRepository, outbox: OutboxRepository, webhooks: WebhookRepository
    ) -> None:
        super().__init__(scope)
        self._sweeps = sweeps
        self._outbox = outbox
        self._webhooks = webhooks
        self._tokens: dict[tuple[str, str], str] = {}
        self._on_final: list[Callable[[JobRow], Awaitable[None]]] = []
        self.changed: list[Job] = []
        """The jobs as they are after each change in this transaction."""

    def fence(self, tenant_id: str, job_id: str, token: str) -> None:
        """Have every change of the job in this transaction depend on the lease with this token.

        It then raises `LeaseLost` when the lease is another's by now. The token is compared under the lock of
        the job's row, so that nobody can take the lease between the look and the commit.
        """
        self._tokens[tenant_id, job_id] = token

    def on_final(self, follow: Callable[[JobRow], Awaitable[None]]) -> None:
        """Have `follow` called in the transaction in which a job ends. For this package only."""
        self._on_final.append(follow)

    async def create(
        self,
        tenant_id: str,
        collection_uid: str,
        document: NewDocument,
        *,
        chunking: Cutting,
        content_sha256: str = "",
        fetch_uri: str = "",
        size_bytes: int | None = None,
        request_id: str = "",
        priority: Priority = Priority.INTERACTIVE,
        trace_parent: str = "",
        parent_id: str = "",
        item: str = "",
        crawl: CrawlRequest | None = None,
        archive: ArchiveBudget | None = None,
        waiting: Waiting = Waiting.FOR_NOTHING,
        webhook: Webhook | None = None,
    ) -> Job:
        """Accept a job, with the next revision number of its document; event 1 records it.

        The same transaction puts it into the outbox, from where it gets into the queue, unless it has to
        wait. `item` is what its parent calls it. A crawl has no document and no revision.

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
            chunking=cutting_to_json(chunking),
            content_sha256=content_sha256,
            fetch_uri=fetch_uri,
            document_revision=0
            if crawl is not None
            else await next_revision(self._scope, tenant_id, collection_uid, document.document_id),
            state=JobState.QUEUED.value,
            progress=progress_to_json(JobProgress(size_bytes=size_bytes)),
            attempt_count=0,
            cancel_requested=False,
            priority=int(priority),
            sequence=0,
            request_id=request_id,
            webhook=webhook_to_json(webhook),
            create_time=now,
            update_time=now,
            kind=(JobKind.DOCUMENT if crawl is None else JobKind.CRAWL).value,
            parent_id=parent_id,
            waiting=waiting.value,
            spec=spec_to_json(item=item, crawl=crawl, archive=archive),
        )
        self._scope.session.add(row)
        job = await self._record(row, now)
        if waiting is Waiting.FOR_NOTHING:
            await self._outbox.add(tenant_id, job.id, priority, trace_parent=trace_parent)
        return job

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
        kind: JobKind | None = None,
        item_errors: Sequence[ItemError] | None = None,
    ) -> Job:
        """Change what is not None, and record it as the next event.

        The first state after QUEUED sets `start_time`. A final one sets `end_time`, ends the job's lease and
        has what the job wrote swept: its chunks, and when it was cancelled its bytes, too, unless something
        else needs them. The bytes of a failed job stay for `revive`. A success is not reached here but by
        `DocumentRepository.publish`, and by the last job of an archive or a crawl.

        Raises `NotFound` and, when the job is finished, `FailedPrecondition` (`JOB_ALREADY_FINISHED`).
        """
        if state in SUCCESSES:
            raise ValueError("a job succeeds by publishing its document")
        if state in {JobState.FAILED, JobState.CANCELLED}:
            await self._lock_children(tenant_id, job_id)  # which are cancelled with it
        row = await self.unfinished_row(tenant_id, job_id, is_locked=True)
        if state is not None:
            row.state = state.value
        if kind is not None:
            row.kind = kind.value
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
        if item_errors is not None:
            row.item_errors = items_to_json(item_errors)
        return await self.record_change(row)

    async def request_cancel(self, tenant_id: str, job_id: str) -> Job:
        """Cancel a queued job at once; have a running one cancelled by whoever runs it. Idempotent.

        The jobs that it has made are cancelled with it. Raises `NotFound` and, when the job is finished,
        `FailedPrecondition` (`JOB_ALREADY_FINISHED`).
        """
        children = await self._lock_children(tenant_id, job_id)
        row = await self.unfinished_row(tenant_id, job_id, is_locked=True)
        if row.state == JobState.QUEUED:
            return await self.change(tenant_id, job_id, state=JobState.CANCELLED, cancel_requested=True)
        if not row.cancel_requested:
            await self.change(tenant_id, job_id, cancel_requested=True)
        for child_id in children:
            await self.request_cancel(tenant_id, child_id)
        return job_from_row(row)

    async def cancel_children(self, tenant_id: str, job_id: str) -> None:
        """Request the cancellation of the unfinished jobs that a job has made."""
        for child_id in await self._lock_children(tenant_id, job_id):
            await self.request_cancel(tenant_id, child_id)

    async def cancel_all_of_document(self, tenant_id: str, collection_uid: str, document_id: str) -> int:
        """Request the cancellation of a document's unfinished jobs; return how many there are.

        Its failed jobs cannot be revived any longer: their bytes go.
        """
        await self._give_up_failed(tenant_id, collection_uid, document_id)
        ids = await self._unfinished_ids(tenant_id, collection_uid, document_id)
        for job_id in ids:
            await self.request_cancel(tenant_id, job_id)
        return len(ids)

    async def cancel_all_of_collection(self, tenant_id: str, collection_uid: str) -> None:
        """Make a collection's unfinished jobs CANCELLED, running or not: they have nowhere to write.

        The bytes of its failed jobs go.
        """
        await self._give_up_failed(tenant_id, collection_uid)
        # what has made jobs goes first, and takes these with it
        for job_id in reversed(await self._unfinished_ids(tenant_id, collection_uid)):
            if (await self.row(tenant_id, job_id)).state in UNFINISHED_STATES:
                await self.change(tenant_id, job_id, state=JobState.CANCELLED, cancel_requested=True)

    async def unfinished_row(self, tenant_id: str, job_id: str, *, is_locked: bool = False) -> JobRow:
        """Return the row of a job that may still change. For this package only."""
        row = await self.row(tenant_id, job_id, is_locked=is_locked)
        if row.state not in UNFINISHED_STATES:
            raise FailedPrecondition(
                "JOB_ALREADY_FINISHED",
                f"job {job_id!r} is {row.state} already",
                metadata={"resource": "job", "id": job_id, "state": row.state},
            )
        if is_locked:
            await self._check_lease(tenant_id, job_id)
        return row

    async def _check_lease(self, tenant_id: str, job_id: str) -> None:
        token = self._tokens.get((tenant_id, job_id))
        if token is None:
            return
        statement = select(col(JobLeaseRow.token)).where(
            col(JobLeaseRow.tenant_id) == tenant_id, col(JobLeaseRow.job_id) == job_id
        )
        if (await self._scope.session.scalars(statement)).one_or_none() != token:
            raise LeaseLost

    async def record_change(self, row: JobRow) -> Job:
        """Stamp and record a changed row. For this package only."""
        now = self._scope.clock()
        state = JobState(row.state)
        if row.start_time is None and state is not JobState.QUEUED:
            row.start_time = now
        if state.is_final:
            row.end_time = now
            row.waiting = Waiting.FOR_NOTHING.value
            await self._forget_queueing(row)
        if state in {JobState.FAILED, JobState.CANCELLED}:
            if row.kind == JobKind.DOCUMENT:
                await self._sweeps.add_revisions(
                    row.tenant_id, row.collection_uid, row.document_id, revision=row.document_revision
                )
            if row.content_sha256 and state is JobState.CANCELLED:
                await self._sweeps.add_blob(row.tenant_id, row.content_sha256)
        job = await self._record(row, now)
        if state.is_final and job.webhook is not None:
            await self._webhooks.add(job, job.webhook)
        if state.is_final:
            for follow in self._on_final:
                await follow(row)
        return job

    async def _give_up_failed(
        self, tenant_id: str, collection_uid: str, document_id: str | None = None
    ) -> None:
        statement = select(JobRow).where(
            col(JobRow.tenant_id) == tenant_id,
            col(JobRow.collection_uid) == collection_uid,
            col(JobRow.state) == JobState.FAILED.value,
            col(JobRow.content_sha256) != "",
        )
        if document_id is not None:
            statement = statement.where(col(JobRow.document_id) == document_id)
        for row in (await self._scope.session.scalars(statement.with_for_update())).all():
            await self._sweeps.add_blob(tenant_id, row.content_sha256)
            row.content_sha256 = ""

    async def _forget_queueing(self, row: JobRow) -> None:
        for table in (JobLeaseRow, OutboxRow):
            await self._scope.session.execute(
                delete(table).where(col(table.tenant_id) == row.tenant_id, col(table.job_id) == row.id)
            )

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
        # Locked, and so still unfinished when the caller comes to each; in one order, against deadlocks: the
        # later ones first, since what a job has made is locked before the job itself.
        statement = statement.order_by(col(JobRow.id).desc()).with_for_update()
        return (await self._scope.session.scalars(statement)).all()

    async def _lock_children(self, tenant_id: str, job_id: str) -> Sequence[str]:
        """Lock the unfinished jobs that a job has made, always before that job itself; return their ids."""
        statement = (
            select(col(JobRow.id))
            .where(
                col(JobRow.tenant_id) == tenant_id,
                col(JobRow.parent_id) == job_id,
                col(JobRow.state).in_(UNFINISHED_STATES),
            )
            .order_by(col(JobRow.id).desc())
            .with_for_update()
        )
        return (await self._scope.session.scalars(statement)).all()
