"""Documents: what readers may see, and the flip that makes a new revision visible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, exists, select
from sqlmodel import col

from rag_server.domain.change import DocumentChange
from rag_server.domain.document import Document, DocumentHead
from rag_server.domain.job import Job, JobError, JobProgress, JobState
from rag_server.domain.publication import Publication
from rag_server.domain.revision import KEPT_REVISIONS
from rag_server.errors import NotFound
from rag_server.metadata.changes import ChangeRepository
from rag_server.metadata.codecs import metadata_from_json, progress_to_json
from rag_server.metadata.collections import CollectionRepository
from rag_server.metadata.document_heads import heads_of, scan_heads
from rag_server.metadata.history import HistoryRepository
from rag_server.metadata.jobs import JobRepository
from rag_server.metadata.revisions import last_revision
from rag_server.metadata.session import IDS_PER_STATEMENT, Scope
from rag_server.metadata.sweeps import SweepRepository
from rag_server.metadata.tables import UNFINISHED_STATES, DocumentRow, JobRow


class DocumentRepository:
    """Documents with a visible revision."""

    def __init__(
        self,
        scope: Scope,
        collections: CollectionRepository,
        changes: ChangeRepository,
        jobs: JobRepository,
        sweeps: SweepRepository,
        history: HistoryRepository,
    ) -> None:
        self._scope = scope
        self._collections = collections
        self._changes = changes
        self._jobs = jobs
        self._sweeps = sweeps
        self._history = history

    async def get(self, tenant_id: str, collection_uid: str, document_id: str) -> Document:
        """Return the document. Raises `NotFound`."""
        row = await self._row(tenant_id, collection_uid, document_id)
        if row is None:
            raise NotFound.for_resource("document", document_id)
        return _to_domain(row)

    async def list(
        self, tenant_id: str, collection_uid: str, *, after_id: str = "", limit: int
    ) -> list[Document]:
        """Return documents by id, from after `after_id` on."""
        statement = (
            select(DocumentRow)
            .where(
                col(DocumentRow.tenant_id) == tenant_id,
                col(DocumentRow.collection_uid) == collection_uid,
                col(DocumentRow.id) > after_id,
            )
            .order_by(col(DocumentRow.id))
            .limit(limit)
        )
        return [_to_domain(row) for row in await self._scope.session.scalars(statement)]

    async def revisions_of(
        self, tenant_id: str, collection_uid: str, document_ids: Iterable[str]
    ) -> dict[str, int]:
        """Return the visible revision of each document; one that nobody may see is left out."""
        ids = list(dict.fromkeys(document_ids))
        found: dict[str, int] = {}
        for start in range(0, len(ids), IDS_PER_STATEMENT):
            statement = select(col(DocumentRow.id), col(DocumentRow.revision)).where(
                col(DocumentRow.tenant_id) == tenant_id,
                col(DocumentRow.collection_uid) == collection_uid,
                col(DocumentRow.id).in_(ids[start : start + IDS_PER_STATEMENT]),
            )
            rows = (await self._scope.session.execute(statement)).all()
            found.update((row.id, row.revision) for row in rows)
        return found

    async def scan(
        self, tenant_id: str, collection_uid: str, *, after_id: str = "", limit: int
    ) -> Sequence[DocumentHead]:
        """Return heads of documents by id, from after `after_id` on; made for reading all of many."""
        return await scan_heads(self._scope, tenant_id, collection_uid, after_id, limit)

    async def heads_of(
        self, tenant_id: str, collection_uid: str, document_ids: Iterable[str]
    ) -> dict[str, DocumentHead]:
        """Return the head of each document by its id; one that nobody may see is left out."""
        return await heads_of(self._scope, tenant_id, collection_uid, document_ids)

    async def delete(self, tenant_id: str, collection_uid: str, document_id: str) -> None:
        """Delete a document, for ever: its unfinished jobs are cancelled and none of them can publish.

        A document that is still on its way to its first revision is deleted by that alone. Raises
        `NotFound` when there is neither a document nor an unfinished job for it.
        """
        await self._scope.lock_collection(tenant_id, collection_uid)
        row = await self._row(tenant_id, collection_uid, document_id)
        cancelled = await self._jobs.cancel_all_of_document(tenant_id, collection_uid, document_id)
        if row is None:
            if not cancelled:
                raise NotFound.for_resource("document", document_id)
            return
        # bounded by the numbers given out so far: a later ingest of this id must survive the sweep
        end = await last_revision(self._scope, tenant_id, collection_uid, document_id) + 1
        await self._sweeps.add_revisions(tenant_id, collection_uid, document_id, before_revision=end)
        await self._history.forget(tenant_id, collection_uid, document_id)
        revision = await self._collections.bump_revision(
            tenant_id, collection_uid, documents=-1, chunks=-row.chunk_count
        )
        change = DocumentChange(revision, document_id, document_revision=None, chunk_count=0)
        await self._changes.add(tenant_id, collection_uid, change)
        await self._scope.session.execute(
            delete(DocumentRow).where(
                col(DocumentRow.tenant_id) == tenant_id,
                col(DocumentRow.collection_uid) == collection_uid,
                col(DocumentRow.id) == document_id,
            )
        )

    async def publish(
        self, tenant_id: str, job_id: str, publication: Publication, *, kept_revisions: int = KEPT_REVISIONS
    ) -> Job:
        """Make the job's revision the visible one and finish the job, in one step; return the job.

        The job ends
        - CANCELLED, when that was requested, and nothing becomes visible;
        - FAILED with `SUPERSEDED`, when a later revision is visible already;
        - PARTIALLY_SUCCEEDED, when parts of the document were left out;
        - SUCCEEDED otherwise. In both the chunks of the older revision are swept; of the document's revisions
          the `kept_revisions` latest, this one included, stay known, with their bytes.

        Raises `NotFound` and, when the job is finished already (as when its collection has been
        deleted), `FailedPrecondition` (`JOB_ALREADY_FINISHED`).
        """
        uid = (await self._jobs.unfinished_row(tenant_id, job_id)).collection_uid
        await self._scope.lock_collection(tenant_id, uid)
        job = await self._jobs.unfinished_row(tenant_id, job_id, is_locked=True)
        if job.cancel_requested:
            return await self._jobs.change(tenant_id, job_id, state=JobState.CANCELLED)
        current = await self._row(tenant_id, uid, job.document_id)
        if current is not None and current.revision >= job.document_revision:
            error = JobError("SUPERSEDED", "a later version of the document was ingested first")
            return await self._jobs.change(tenant_id, job_id, state=JobState.FAILED, error=error)
        await self._flip(job, current, publication)
        await self._history.add(tenant_id, job, publication, kept=kept_revisions)
        return await self._succeed(job, publication)

    async def keep(self, tenant_id: str, job_id: str, revision: int) -> Job | None:
        """End a job whose content the document has already, in `revision`; return the job.

        None, and nothing is changed, when the job has to make a revision all the same: because `revision` is
        not the visible one any longer, or is not whole; or because a job that was accepted before it might
        still publish other content, which this one was to replace. The job ends CANCELLED when that was
        requested.

        Raises as `publish` does.
        """
        uid = (await self._jobs.unfinished_row(tenant_id, job_id)).collection_uid
        await self._scope.lock_collection(tenant_id, uid)
        job = await self._jobs.unfinished_row(tenant_id, job_id, is_locked=True)
        if job.cancel_requested:
            return await self._jobs.change(tenant_id, job_id, state=JobState.CANCELLED)
        current = await self._row(tenant_id, uid, job.document_id)
        newest = await self._history.newest(tenant_id, uid, job.document_id)
        if current is None or newest is None or (current.revision, newest.revision) != (revision, revision):
            return None
        if not newest.recipe or await self._is_preceded(job):
            return None
        if job.attempt_count > 1:  # what an earlier attempt, which had to make a revision, left behind
            await self._sweeps.add_revisions(tenant_id, uid, job.document_id, revision=job.document_revision)
        job.state = JobState.SUCCEEDED.value
        job.content_sha256 = current.sha256
        job.document_revision = current.revision
        progress = JobProgress(
            size_bytes=current.size_bytes,
            page_count=current.page_count,
            chunk_count=current.chunk_count,
            token_count=current.token_count,
            indexed_chunk_count=current.chunk_count,
            reused_chunk_count=current.chunk_count,
            is_unchanged=True,
        )
        job.progress = progress_to_json(progress)
        return await self._jobs.record_change(job)

    async def _is_preceded(self, job: JobRow) -> bool:
        """Whether an unfinished job is to make an earlier revision of the same document."""
        earlier = exists().where(
            col(JobRow.tenant_id) == job.tenant_id,
            col(JobRow.collection_uid) == job.collection_uid,
            col(JobRow.document_id) == job.document_id,
            col(JobRow.document_revision) < job.document_revision,
            col(JobRow.state).in_(UNFINISHED_STATES),
        )
        return bool(await self._scope.session.scalar(select(earlier)))

    async def _flip(self, job: JobRow, current: DocumentRow | None, publication: Publication) -> None:
        now = self._scope.clock()
        added_documents, added_chunks = 1, publication.chunk_count
        create_time = now
        if current is not None:
            added_documents = 0
            added_chunks -= current.chunk_count
            create_time = current.create_time
            await self._sweeps.add_revisions(
                job.tenant_id, job.collection_uid, job.document_id, before_revision=job.document_revision
            )
        row = DocumentRow(
            tenant_id=job.tenant_id,
            collection_uid=job.collection_uid,
            id=job.document_id,
            collection_id=job.collection_id,
            revision=job.document_revision,
            title=publication.title,
            source_uri=job.document["source_uri"],
            media_type=publication.media_type,
            sha256=publication.sha256,
            size_bytes=publication.size_bytes,
            language=publication.language,
            fields=job.document["metadata"],
            chunk_count=publication.chunk_count,
            token_count=publication.token_count,
            page_count=publication.page_count,
            create_time=create_time,
            update_time=now,
        )
        await self._scope.session.merge(row)
        revision = await self._collections.bump_revision(
            job.tenant_id, job.collection_uid, documents=added_documents, chunks=added_chunks
        )
        change = DocumentChange(revision, job.document_id, job.document_revision, publication.chunk_count)
        await self._changes.add(job.tenant_id, job.collection_uid, change)

    async def _succeed(self, job: JobRow, publication: Publication) -> Job:
        failed = publication.failed_item_count
        job.state = (JobState.PARTIALLY_SUCCEEDED if failed else JobState.SUCCEEDED).value
        job.content_sha256 = publication.sha256
        progress = JobProgress(
            size_bytes=publication.size_bytes,
            page_count=publication.page_count,
            chunk_count=publication.chunk_count,
            token_count=publication.token_count,
            embedded_chunk_count=publication.chunk_count - publication.reused_chunk_count,
            indexed_chunk_count=publication.chunk_count,
            parsed_page_count=publication.page_count,
            reused_chunk_count=publication.reused_chunk_count,
            failed_item_count=failed,
        )
        job.progress = progress_to_json(progress)
        return await self._jobs.record_change(job)

    async def _row(self, tenant_id: str, collection_uid: str, document_id: str) -> DocumentRow | None:
        statement = select(DocumentRow).where(
            col(DocumentRow.tenant_id) == tenant_id,
            col(DocumentRow.collection_uid) == collection_uid,
            col(DocumentRow.id) == document_id,
        )
        return (await self._scope.session.scalars(statement)).one_or_none()


def _to_domain(row: DocumentRow) -> Document:
    return Document(
        tenant_id=row.tenant_id,
        collection_id=row.collection_id,
        id=row.id,
        revision=row.revision,
        title=row.title,
        source_uri=row.source_uri,
        media_type=row.media_type,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        language=row.language,
        metadata=metadata_from_json(row.fields),
        chunk_count=row.chunk_count,
        token_count=row.token_count,
        page_count=row.page_count,
        create_time=row.create_time,
        update_time=row.update_time,
    )
