"""The sweeper: removes from the chunk store and the blob store what the metadata no longer knows.

Each removal is written down in the transaction that makes it due, and crossed out once it is done, so a
crash in between loses none (no orphans). Readers never wait for it: they go by the metadata.
"""

from __future__ import annotations

import asyncio

import structlog

from rag_server.backends.protocols import BlobStore, ChunkStore
from rag_server.domain.sweep import Sweep, SweepKind
from rag_server.errors import RagError
from rag_server.metadata.database import Database

log = structlog.get_logger()

_BATCH = 100
_PAUSE_S = 30.0


class Sweeper:
    """Runs due sweeps, oldest first; those that fail are tried again later."""

    def __init__(self, database: Database, chunks: ChunkStore, blobs: BlobStore) -> None:
        self._database = database
        self._chunks = chunks
        self._blobs = blobs
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Look for due sweeps now rather than at the next round."""
        self._due.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        await self._reconcile()
        while True:
            self._due.clear()
            try:
                await self.sweep()
            except RagError as error:
                log.warning("sweep failed, will be tried again", reason=error.reason)
            try:
                async with asyncio.timeout(_PAUSE_S):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _reconcile(self) -> None:
        try:
            removed = await self.remove_unreferenced_blobs()
        except RagError as error:
            log.warning("unreferenced bytes could not be removed", reason=error.reason)
        else:
            if removed:
                log.info("removed bytes that nothing refers to", count=removed)

    async def sweep(self) -> int:
        """Run all sweeps that are due now; return how many were done.

        One that fails does not hold up the others; the first failure is raised after them.
        """
        done = 0
        after_id = ""
        failure: RagError | None = None
        while True:
            async with self._database.snapshot() as tx:
                batch = await tx.sweeps.next_batch(limit=_BATCH, after_id=after_id)
            if not batch:
                break
            for sweep in batch:
                try:
                    await self._remove(sweep)
                    done += 1
                except RagError as error:
                    failure = failure or error
            after_id = batch[-1].id
        if failure is not None:
            raise failure
        return done

    async def remove_unreferenced_blobs(self) -> int:
        """Remove bytes that no document and no job refers to; return how many were.

        A process that was killed between keeping a job's bytes and committing the job leaves such bytes,
        of which nothing is written down.
        """
        removed = 0
        async for tenant_id, sha256 in self._blobs.list_all():
            removed += await self.remove_blob(tenant_id, sha256)
        return removed

    async def _remove(self, sweep: Sweep) -> None:
        match sweep.kind:
            case SweepKind.COLLECTION:
                await self._chunks.drop_collection(sweep.collection_uid)
            case SweepKind.DOCUMENT_REVISIONS:
                await self._chunks.delete_document(
                    sweep.tenant_id,
                    sweep.collection_uid,
                    sweep.document_id,
                    revision=sweep.revision,
                    before_revision=sweep.before_revision,
                )
            case SweepKind.BLOB:
                await self.remove_blob(sweep.tenant_id, sweep.sha256)
        async with self._database.transaction() as tx:
            await tx.sweeps.done(sweep.tenant_id, sweep.id)

    async def remove_blob(self, tenant_id: str, sha256: str) -> bool:
        """Remove bytes unless something refers to them; return whether they were removed."""
        # Locked, so that no job can be accepted for these bytes between question and deed.
        async with self._database.transaction() as tx:
            await tx.blobs.lock(tenant_id, sha256)
            if await tx.blobs.is_referenced(tenant_id, sha256):
                return False
            was_there = await self._blobs.size(tenant_id, sha256) is not None
            await self._blobs.delete(tenant_id, sha256)
            await tx.blobs.remove(tenant_id, sha256)
            return was_there
