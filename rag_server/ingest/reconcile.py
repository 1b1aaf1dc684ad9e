"""The reconciler: compares the metadata with the chunk store and the bytes, and repairs what does not agree.

In order of their ways of doing things, the stores cannot come apart: every removal is written down before it
is due (`sweep`), nothing is visible before it is stored. But disks are restored from backups of different
days, and folders are deleted by hand.

Nothing that a running job writes is touched. The stores are read without a lock, so what was read may be
old by the time it is looked at: each suspicion is confirmed, the chunks by reading them again, and decided
upon in a transaction that holds the collection's lock, without which no revision becomes visible and no job
is accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import structlog

from rag_server.backends.protocols import BlobStore, ChunkStore
from rag_server.domain.collection import Collection
from rag_server.domain.document import DocumentHead
from rag_server.domain.job import JobState
from rag_server.domain.priority import Priority
from rag_server.domain.reconciliation import Finding, FindingKind, Inspected
from rag_server.errors import NotFound, RagError
from rag_server.ingest.submit import Submitter
from rag_server.ingest.sweep import Sweeper
from rag_server.metadata.database import Database, Transaction

log = structlog.get_logger()

_HEADS = 1_000
_CHUNKS = 1_000
_BLOBS = 500
_COLLECTIONS = 100
"""Read in one go."""
_UNFINISHED = frozenset(state for state in JobState if not state.is_final)

_Revision = tuple[str, int]
"""A document and the number of a revision of it."""


class Reconciler:
    """Compares and repairs. Holds one number per document revision of one collection at a time."""

    def __init__(
        self, database: Database, chunks: ChunkStore, blobs: BlobStore, submitter: Submitter, sweeper: Sweeper
    ) -> None:
        self._database = database
        self._chunks = chunks
        self._blobs = blobs
        self._submitter = submitter
        self._sweeper = sweeper

    async def run(
        self,
        tenant_id: str,
        inspected: Inspected,
        *,
        collection_id: str = "",
        is_dry_run: bool,
        request_id: str = "",
    ) -> AsyncGenerator[Finding, None]:
        """Yield what does not agree, each after its repair was begun; count in `inspected` what was read.

        Args:
            tenant_id: Whose stores.
            inspected: Grows as the work goes on.
            collection_id: Only this collection; empty: all, and bytes that nothing refers to.
            is_dry_run: Change nothing.
            request_id: Of the call, for the jobs that repair.

        Raises `NotFound` for a collection that is named, and `Unavailable` when a store does not answer.
        """
        async for collection in self._collections(tenant_id, collection_id):
            inspected.collection_count += 1
            async with aclosing(self._collection(collection, inspected, is_dry_run, request_id)) as findings:
                async for finding in findings:
                    yield finding
        if not collection_id:
            async with aclosing(self._unreferenced(tenant_id, is_dry_run)) as findings:
                async for finding in findings:
                    yield finding
        self._sweeper.wake()

    async def _collections(self, tenant_id: str, collection_id: str) -> AsyncGenerator[Collection, None]:
        if collection_id:
            async with self._database.snapshot() as tx:
                collection = await tx.collections.get(tenant_id, collection_id)
            yield collection
            return
        after_id = ""
        while True:
            async with self._database.snapshot() as tx:
                page = await tx.collections.list(tenant_id, after_id=after_id, limit=_COLLECTIONS)
            if not page:
                return
            for collection in page:
                yield collection
            after_id = page[-1].id

    async def _collection(
        self, collection: Collection, inspected: Inspected, is_dry_run: bool, request_id: str
    ) -> AsyncGenerator[Finding, None]:
        try:
            stored = await self._count(collection, inspected)
            after_id = ""
            while heads := await self._heads(collection, after_id):
                inspected.document_count += len(heads)
                for head in heads:
                    if stored.pop((head.id, head.revision), 0) != head.chunk_count and (
                        finding := await self._document(collection, head, is_dry_run, request_id)
                    ):
                        yield finding
                after_id = heads[-1].id
            for revision in stored:
                if finding := await self._orphan(collection, revision, is_dry_run):
                    yield finding
            async with aclosing(self._missing_bytes(collection)) as findings:
                async for finding in findings:
                    yield finding
        except NotFound:
            async with self._database.snapshot() as tx:
                try:
                    await tx.collections.get_by_uid(collection.tenant_id, collection.uid)
                except NotFound:
                    return  # deleted meanwhile: all of it will be swept
            raise

    async def _count(self, collection: Collection, inspected: Inspected) -> Counter[_Revision]:
        """Return how many chunks the store has of each revision."""
        found: Counter[_Revision] = Counter()
        async with aclosing(self._chunks.scan(collection)) as batches:
            async for batch in batches:
                inspected.chunk_count += len(batch)
                found.update((chunk.document_id, chunk.document_revision) for chunk in batch.chunks)
        return found

    async def _heads(self, collection: Collection, after_id: str) -> Sequence[DocumentHead]:
        async with self._database.snapshot() as tx:
            return await tx.documents.scan(
                collection.tenant_id, collection.uid, after_id=after_id, limit=_HEADS
            )

    async def _document(
        self, collection: Collection, head: DocumentHead, is_dry_run: bool, request_id: str
    ) -> Finding | None:
        present, surplus = await self._recount(collection, head)
        missing = head.chunk_count - present
        if not missing and not surplus:
            return None  # it became visible after the scan
        tenant_id, uid = collection.tenant_id, collection.uid
        async with self._database.snapshot() as tx:
            if (await tx.documents.revisions_of(tenant_id, uid, [head.id])).get(head.id) != head.revision:
                return None  # replaced or deleted, and swept, after it was read
        kind = FindingKind.MISSING_CHUNKS if missing else FindingKind.SURPLUS_CHUNKS
        job_id = "" if is_dry_run else await self._ingest_again(collection, head, request_id)
        return Finding(
            kind,
            collection.id,
            head.id,
            head.revision,
            missing or surplus,
            is_repaired=bool(job_id),
            job_id=job_id,
        )

    async def _recount(self, collection: Collection, head: DocumentHead) -> tuple[int, int]:
        """Return how many chunks of a revision are there, and how many beyond its last one."""
        present = surplus = 0
        for first in range(0, head.chunk_count + _CHUNKS, _CHUNKS):
            page = await self._chunks.list_chunks(
                collection, head.id, head.revision, first_ordinal=first, limit=_CHUNKS
            )
            inside = sum(chunk.ordinal < head.chunk_count for chunk in page)
            present += inside
            surplus += len(page) - inside
        return present, surplus

    async def _ingest_again(self, collection: Collection, head: DocumentHead, request_id: str) -> str:
        """Have the document made again from its bytes; return the job, empty where that is not possible."""
        tenant_id, uid = collection.tenant_id, collection.uid
        async with self._database.snapshot() as tx:
            newest = await tx.history.newest(tenant_id, uid, head.id)
        if newest is None or newest.revision != head.revision:
            return ""
        if await self._blobs.size(tenant_id, newest.sha256) != newest.size_bytes:
            return ""
        try:
            async with self._database.transaction() as tx:
                # first of the two, as everywhere: see `Submitter.restore`
                await tx.blobs.lock(tenant_id, newest.sha256)
                await tx.collections.lock(tenant_id, uid)
                visible = await tx.documents.revisions_of(tenant_id, uid, [head.id])
                if visible.get(head.id) != head.revision:
                    return ""  # replaced or deleted: it must not come back
                # else the same content would count as unchanged
                await tx.history.distrust(tenant_id, uid, head.id, head.revision)
                running = await tx.jobs.list(
                    tenant_id, collection_uid=uid, document_id=head.id, states=_UNFINISHED, limit=1
                )
                if running:
                    return running[0].id
                job = await self._submitter.restore(
                    tx,
                    tenant_id,
                    collection.id,
                    head.id,
                    head.revision,
                    request_id=request_id,
                    priority=Priority.BULK,
                )
                return job.id
        except RagError as error:
            log.warning("document cannot be made again", document=head.id, reason=error.reason)
            return ""

    async def _orphan(self, collection: Collection, revision: _Revision, is_dry_run: bool) -> Finding | None:
        document_id, number = revision
        if await self._is_known(collection, revision):
            return None
        page = await self._chunks.list_chunks(collection, document_id, number, first_ordinal=0, limit=_CHUNKS)
        if not page:
            return None  # swept after the scan
        if is_dry_run:
            if await self._is_known(collection, revision):
                return None
        else:
            async with self._database.transaction() as tx:
                await tx.collections.lock(collection.tenant_id, collection.uid)
                if await _is_known(tx, collection, revision):
                    return None
                await tx.sweeps.add_revisions(
                    collection.tenant_id, collection.uid, document_id, revision=number
                )
        return Finding(
            FindingKind.ORPHAN_CHUNKS,
            collection.id,
            document_id,
            number,
            len(page),
            is_repaired=not is_dry_run,
        )

    async def _is_known(self, collection: Collection, revision: _Revision) -> bool:
        async with self._database.snapshot() as tx:
            return await _is_known(tx, collection, revision)

    async def _missing_bytes(self, collection: Collection) -> AsyncGenerator[Finding, None]:
        tenant_id, after = collection.tenant_id, ""
        while True:
            async with self._database.snapshot() as tx:
                page = await tx.history.blobs(tenant_id, collection.uid, after_sha256=after, limit=_BLOBS)
            if not page:
                return
            for sha256, size_bytes in page:
                if await self._blobs.size(tenant_id, sha256) == size_bytes:
                    continue
                async with self._database.snapshot() as tx:
                    still = await tx.history.blobs(
                        tenant_id, collection.uid, after_sha256=after, limit=_BLOBS
                    )
                if (sha256, size_bytes) in still:  # else forgotten, and swept, meanwhile
                    yield Finding(FindingKind.MISSING_BYTES, collection.id, sha256=sha256)
            after = page[-1][0]

    async def _unreferenced(self, tenant_id: str, is_dry_run: bool) -> AsyncGenerator[Finding, None]:
        async for owner, sha256 in self._blobs.list_all():
            if owner != tenant_id or not await self._is_unreferenced(tenant_id, sha256, is_dry_run):
                continue
            yield Finding(FindingKind.UNREFERENCED_BYTES, sha256=sha256, is_repaired=not is_dry_run)

    async def _is_unreferenced(self, tenant_id: str, sha256: str, is_dry_run: bool) -> bool:
        async with self._database.snapshot() as tx:
            if await tx.blobs.is_referenced(tenant_id, sha256) or await tx.sweeps.is_blob_due(
                tenant_id, sha256
            ):
                return False
        if not is_dry_run:
            return await self._sweeper.remove_blob(tenant_id, sha256)
        # locked: bytes are kept just before the job that needs them is committed
        async with self._database.transaction() as tx:
            await tx.blobs.lock(tenant_id, sha256)
            if await tx.blobs.is_referenced(tenant_id, sha256):
                return False
            return await self._blobs.size(tenant_id, sha256) is not None


async def _is_known(tx: Transaction, collection: Collection, revision: _Revision) -> bool:
    """Whether a revision is visible, being made, or about to be swept."""
    document_id, number = revision
    where = (collection.tenant_id, collection.uid)
    visible = await tx.documents.revisions_of(*where, [document_id])
    if visible.get(document_id) == number:
        return True
    being_made = await tx.jobs.documents_being_made(*where, [document_id])
    return number in being_made.get(document_id, ()) or await tx.sweeps.is_due(*where, document_id, number)
