"""Uploads that can be resumed, and the parts of them that the blob store holds."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, literal, select
from sqlmodel import col

from rag_server.domain.collection import Chunking
from rag_server.domain.document import NewDocument
from rag_server.domain.ids import new_id
from rag_server.domain.upload import Upload, UploadPart
from rag_server.errors import FailedPrecondition, NotFound
from rag_server.metadata.codecs import chunking_from_json, chunking_to_json
from rag_server.metadata.job_rows import document_from_json, document_to_json
from rag_server.metadata.session import Scope
from rag_server.metadata.sweeps import SweepRepository
from rag_server.metadata.tables import UploadPartRow, UploadRow
from rag_server.metadata.types import UtcDateTime


class UploadRepository:
    """Uploads. Whoever changes one locks it first, before the bytes, the collection and the job."""

    def __init__(self, scope: Scope, sweeps: SweepRepository) -> None:
        self._scope = scope
        self._sweeps = sweeps

    async def create(
        self,
        tenant_id: str,
        collection_uid: str,
        document: NewDocument,
        *,
        chunking: Chunking | None = None,
        sha256: str = "",
    ) -> Upload:
        """Open an upload, with nothing received yet."""
        now = self._scope.clock()
        row = UploadRow(
            tenant_id=tenant_id,
            id=new_id(),
            collection_uid=collection_uid,
            collection_id=document.collection_id,
            document_id=document.document_id,
            document=document_to_json(document),
            chunking=None if chunking is None else chunking_to_json(chunking),
            sha256=sha256,
            received_bytes=0,
            create_time=now,
            update_time=now,
        )
        self._scope.session.add(row)
        await self._scope.session.flush()
        return _to_domain(row)

    async def get(self, tenant_id: str, upload_id: str) -> Upload:
        """Return the upload. Raises `NotFound`."""
        return _to_domain(await self._row(tenant_id, upload_id))

    async def lock(self, tenant_id: str, upload_id: str) -> Upload:
        """Return the upload, which nobody else changes until this transaction ends. Raises `NotFound`."""
        return _to_domain(await self._row(tenant_id, upload_id, is_locked=True))

    async def count_open(self, tenant_id: str) -> int:
        """Return how many uploads of the tenant have not ended."""
        statement = (
            select(func.count())
            .select_from(UploadRow)
            .where(col(UploadRow.tenant_id) == tenant_id, col(UploadRow.answer).is_(None))
        )
        return (await self._scope.session.scalars(statement)).one()

    async def parts(self, tenant_id: str, upload_id: str) -> list[UploadPart]:
        """Return the parts in order; none of an upload that has ended or does not exist."""
        statement = (
            select(UploadPartRow)
            .where(col(UploadPartRow.tenant_id) == tenant_id, col(UploadPartRow.upload_id) == upload_id)
            .order_by(col(UploadPartRow.part_offset))
        )
        return [
            UploadPart(row.part_offset, row.size_bytes, row.sha256)
            for row in await self._scope.session.scalars(statement)
        ]

    async def append(self, tenant_id: str, upload_id: str, part: UploadPart) -> Upload:
        """Record that the blob store holds the next part.

        Raises `NotFound`, and `FailedPrecondition` (`UPLOAD_OFFSET_MISMATCH`) for a part that does not follow
        what is there: another call has gone on with the upload.
        """
        row = await self._row(tenant_id, upload_id, is_locked=True)
        check_offset(_to_domain(row), part.offset)
        self._scope.session.add(
            UploadPartRow(
                tenant_id=tenant_id,
                upload_id=upload_id,
                part_offset=part.offset,
                size_bytes=part.size_bytes,
                sha256=part.sha256,
            )
        )
        row.received_bytes += part.size_bytes
        row.update_time = self._scope.clock()
        await self._scope.session.flush()
        return _to_domain(row)

    async def finish(self, tenant_id: str, upload_id: str, answer: bytes) -> None:
        """Record what the upload became; its parts are due for removal. Raises `NotFound`."""
        row = await self._row(tenant_id, upload_id, is_locked=True)
        row.answer = answer
        row.update_time = self._scope.clock()
        await self._drop_parts(tenant_id, upload_id)

    async def remove(self, tenant_id: str, upload_id: str) -> None:
        """Forget the upload; its parts are due for removal. Idempotent."""
        await self._drop_parts(tenant_id, upload_id)
        await self._scope.session.execute(
            delete(UploadRow).where(col(UploadRow.tenant_id) == tenant_id, col(UploadRow.id) == upload_id)
        )

    async def expire(self, before: datetime, *, limit: int = 100) -> int:
        """Forget uploads of all tenants that nothing came for since that time; return of how many."""
        statement = (
            select(UploadRow)
            .where(col(UploadRow.update_time) < literal(before, UtcDateTime))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = (await self._scope.session.scalars(statement)).all()
        for row in rows:
            await self.remove(row.tenant_id, row.id)
        return len(rows)

    async def _drop_parts(self, tenant_id: str, upload_id: str) -> None:
        parts = await self.parts(tenant_id, upload_id)
        for sha256 in dict.fromkeys(part.sha256 for part in parts):
            await self._sweeps.add_blob(tenant_id, sha256)
        await self._scope.session.execute(
            delete(UploadPartRow).where(
                col(UploadPartRow.tenant_id) == tenant_id, col(UploadPartRow.upload_id) == upload_id
            )
        )

    async def _row(self, tenant_id: str, upload_id: str, *, is_locked: bool = False) -> UploadRow:
        statement = select(UploadRow).where(
            col(UploadRow.tenant_id) == tenant_id, col(UploadRow.id) == upload_id
        )
        if is_locked:
            statement = statement.with_for_update().execution_options(populate_existing=True)
        row: UploadRow | None = (await self._scope.session.scalars(statement)).one_or_none()
        if row is None:
            raise NotFound.for_resource("upload", upload_id)
        return row


def check_offset(upload: Upload, offset: int) -> None:
    """Raise `FailedPrecondition` (`UPLOAD_OFFSET_MISMATCH`) unless the upload goes on from `offset`."""
    if offset != upload.offset:
        raise FailedPrecondition(
            "UPLOAD_OFFSET_MISMATCH",
            f"upload {upload.id!r} goes on from offset {upload.offset}, not {offset}",
            metadata={"resource": "upload", "id": upload.id, "offset": str(upload.offset)},
        )


def _to_domain(row: UploadRow) -> Upload:
    return Upload(
        tenant_id=row.tenant_id,
        id=row.id,
        collection_uid=row.collection_uid,
        document=document_from_json(row.collection_id, row.document_id, row.document),
        chunking=None if row.chunking is None else chunking_from_json(row.chunking),
        sha256=row.sha256,
        offset=row.received_bytes,
        answer=row.answer,
        create_time=row.create_time,
        update_time=row.update_time,
    )
