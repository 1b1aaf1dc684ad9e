"""Uploads that go on where they broke off: each part is made safe, and at the end all are joined.

A part is kept as any bytes are, under its digest, so every blob store will do, and the sweeper spares it
as long as an upload refers to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import structlog

from rag_server.backends.protocols import BlobStore, StagedBlob
from rag_server.domain.collection import Chunking
from rag_server.domain.document import NewDocument
from rag_server.domain.upload import Upload, UploadPart
from rag_server.errors import Internal, ResourceExhausted
from rag_server.ingest.submit import Submitter
from rag_server.metadata.database import Database, Transaction
from rag_server.metadata.uploads import check_offset

log = structlog.get_logger()

_FULL_RETRY_S = 60.0


class ResumableUploads:
    """Opens uploads, receives their parts and joins them."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        submitter: Submitter,
        *,
        part_bytes: int,
        max_document_bytes: int,
        max_open: int,
    ) -> None:
        """Make parts of `part_bytes` or a message more; a tenant may have `max_open` uploads open."""
        self._database = database
        self._blobs = blobs
        self._submitter = submitter
        self._part_bytes = part_bytes
        self._max_document_bytes = max_document_bytes
        self._max_open = max_open

    async def open(
        self,
        tx: Transaction,
        tenant_id: str,
        document: NewDocument,
        *,
        chunking: Chunking | None,
        sha256: str,
    ) -> Upload:
        """Open an upload, unless the document would be refused in the end.

        Raises what `Submitter.check` raises, and `ResourceExhausted` (`TOO_MANY_UPLOADS`).
        """
        collection = await self._submitter.check(tx, tenant_id, document)
        if await tx.uploads.count_open(tenant_id) >= self._max_open:
            raise ResourceExhausted(
                "TOO_MANY_UPLOADS",
                f"{self._max_open} uploads are open already: end or cancel some, or wait until they expire",
                metadata={"limit": str(self._max_open)},
                retry_after_s=_FULL_RETRY_S,
            )
        return await tx.uploads.create(tenant_id, collection.uid, document, chunking=chunking, sha256=sha256)

    async def receive(
        self, tenant_id: str, upload_id: str, offset: int, pieces: AsyncIterator[bytes]
    ) -> Upload:
        """Keep `pieces` part by part; return the upload as it is at their end.

        Of an upload that has ended already they are not read. Raises `NotFound`, `FailedPrecondition`
        (`UPLOAD_OFFSET_MISMATCH`), `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) and what `pieces` raises:
        the parts that were full by then are safe.
        """
        async with self._database.snapshot() as tx:
            upload = await tx.uploads.get(tenant_id, upload_id)
        if upload.answer is not None:
            return upload
        check_offset(upload, offset)
        parts = _Parts(pieces, self._part_bytes, upload.offset, self._max_document_bytes)
        while not parts.is_ended:
            async with aclosing(parts.next()) as part:
                staged = await self._blobs.stage(tenant_id, part, limit_bytes=self._max_document_bytes)
            try:
                if staged.size_bytes:
                    upload = await self._keep(upload, staged)
            finally:
                await staged.discard()
        return upload

    async def _keep(self, upload: Upload, staged: StagedBlob) -> Upload:
        part = UploadPart(upload.offset, staged.size_bytes, staged.sha256)
        async with self._database.transaction() as tx:
            check_offset(await tx.uploads.lock(upload.tenant_id, upload.id), part.offset)
            await tx.blobs.add(upload.tenant_id, part.sha256, part.size_bytes)
            await staged.keep()
            return await tx.uploads.append(upload.tenant_id, upload.id, part)

    async def join(self, upload: Upload) -> StagedBlob:
        """Return all parts in one. Raises `Internal` (`BLOB_DAMAGED`) where one is not what came."""
        async with self._database.snapshot() as tx:
            parts = await tx.uploads.parts(upload.tenant_id, upload.id)
        async with aclosing(self._joined(upload, parts)) as data:
            return await self._blobs.stage(
                upload.tenant_id, data, limit_bytes=max(self._max_document_bytes, upload.offset)
            )

    async def _joined(self, upload: Upload, parts: Sequence[UploadPart]) -> AsyncGenerator[bytes, None]:
        for part in parts:
            digest = hashlib.sha256()
            async with aclosing(self._blobs.stream(upload.tenant_id, part.sha256)) as pieces:
                async for piece in pieces:
                    digest.update(piece)
                    yield piece
            if digest.hexdigest() != part.sha256:
                log.error("stored bytes do not match their digest", sha256=part.sha256)
                raise Internal(
                    "BLOB_DAMAGED",
                    "a stored part of the upload is damaged: start another upload",
                    metadata={"sha256": part.sha256},
                )


class _Parts:
    """Cuts a stream of pieces into streams of about `part_bytes`, without holding more than one piece."""

    def __init__(self, pieces: AsyncIterator[bytes], part_bytes: int, offset: int, limit_bytes: int) -> None:
        self._pieces = pieces
        self._part_bytes = part_bytes
        self._offset = offset
        self._limit_bytes = limit_bytes
        self.is_ended = False

    async def next(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of the next part."""
        size = 0
        while size < self._part_bytes:
            piece = await anext(self._pieces, None)
            if piece is None:
                self.is_ended = True
                return
            size += len(piece)
            self._offset += len(piece)
            if self._offset > self._limit_bytes:
                raise ResourceExhausted(
                    "DOCUMENT_TOO_LARGE",
                    f"the document is larger than {self._limit_bytes} bytes",
                    metadata={"limit_bytes": str(self._limit_bytes)},
                )
            yield piece
