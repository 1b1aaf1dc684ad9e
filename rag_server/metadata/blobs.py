"""Blobs: which bytes the blob store holds, and whether anything still refers to them."""

from __future__ import annotations

from sqlalchemy import delete, exists, or_, select
from sqlmodel import col

from rag_server.metadata.session import Scope
from rag_server.metadata.tables import UNFINISHED_STATES, BlobRow, DocumentRow, JobRow


class BlobRepository:
    """The ledger of the blob store."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add(self, tenant_id: str, sha256: str, size_bytes: int) -> None:
        """Record that the store holds these bytes. Idempotent."""
        now = self._scope.clock()
        row = BlobRow(tenant_id=tenant_id, sha256=sha256, size_bytes=size_bytes, create_time=now)
        await self._scope.insert_if_absent(row)

    async def size(self, tenant_id: str, sha256: str) -> int | None:
        """Return the recorded size in bytes; None: not recorded."""
        statement = select(col(BlobRow.size_bytes)).where(
            col(BlobRow.tenant_id) == tenant_id, col(BlobRow.sha256) == sha256
        )
        return (await self._scope.session.scalars(statement)).one_or_none()

    async def is_referenced(self, tenant_id: str, sha256: str) -> bool:
        """Whether a document, or a job that is not finished, needs the bytes."""
        by_document = exists().where(
            col(DocumentRow.tenant_id) == tenant_id, col(DocumentRow.sha256) == sha256
        )
        by_job = exists().where(
            col(JobRow.tenant_id) == tenant_id,
            col(JobRow.content_sha256) == sha256,
            col(JobRow.state).in_(UNFINISHED_STATES),
        )
        found = await self._scope.session.scalar(select(or_(by_document, by_job)))
        return bool(found)

    async def remove(self, tenant_id: str, sha256: str) -> None:
        """Forget the bytes. Idempotent."""
        await self._scope.session.execute(
            delete(BlobRow).where(col(BlobRow.tenant_id) == tenant_id, col(BlobRow.sha256) == sha256)
        )
