"""Blobs: which bytes the blob store holds, and whether anything still refers to them."""

from __future__ import annotations

import hashlib

from sqlalchemy import delete, exists, func, or_, select
from sqlmodel import col

from rag_server.domain.job import JobState
from rag_server.metadata.session import Scope
from rag_server.metadata.tables import UNFINISHED_STATES, BlobRow, JobRow, KeptRevisionRow, UploadPartRow


class BlobRepository:
    """The ledger of the blob store."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add(self, tenant_id: str, sha256: str, size_bytes: int) -> None:
        """Record that the store holds these bytes, and `lock` them. Idempotent."""
        await self.lock(tenant_id, sha256)
        now = self._scope.clock()
        row = BlobRow(tenant_id=tenant_id, sha256=sha256, size_bytes=size_bytes, create_time=now)
        await self._scope.insert_if_absent(row)

    async def lock(self, tenant_id: str, sha256: str) -> None:
        """Have whoever begins to refer to these bytes, or removes them, wait for the end of this transaction.

        On SQLite all writers do anyway.
        """
        connection = await self._scope.session.connection()
        if connection.dialect.name == "postgresql":
            # there may be no row to lock: of the bytes of a transaction that broke, say
            await connection.execute(select(func.pg_advisory_xact_lock(_lock_key(tenant_id, sha256))))

    async def size(self, tenant_id: str, sha256: str) -> int | None:
        """Return the recorded size in bytes; None: not recorded."""
        statement = select(col(BlobRow.size_bytes)).where(
            col(BlobRow.tenant_id) == tenant_id, col(BlobRow.sha256) == sha256
        )
        return (await self._scope.session.scalars(statement)).one_or_none()

    async def is_referenced(self, tenant_id: str, sha256: str) -> bool:
        """Whether a kept revision, an upload, or a job that is unfinished or has failed needs the bytes.

        Of a failed job they are kept for a while, so that it can be revived.
        """
        by_document = exists().where(
            col(KeptRevisionRow.tenant_id) == tenant_id, col(KeptRevisionRow.sha256) == sha256
        )
        by_job = exists().where(
            col(JobRow.tenant_id) == tenant_id,
            col(JobRow.content_sha256) == sha256,
            col(JobRow.state).in_([*UNFINISHED_STATES, JobState.FAILED.value]),
        )
        by_upload = exists().where(
            col(UploadPartRow.tenant_id) == tenant_id, col(UploadPartRow.sha256) == sha256
        )
        found = await self._scope.session.scalar(select(or_(by_document, by_job, by_upload)))
        return bool(found)

    async def remove(self, tenant_id: str, sha256: str) -> None:
        """Forget the bytes. Idempotent."""
        await self._scope.session.execute(
            delete(BlobRow).where(col(BlobRow.tenant_id) == tenant_id, col(BlobRow.sha256) == sha256)
        )


def _lock_key(tenant_id: str, sha256: str) -> int:
    """Return 64 bits, signed; that two blobs share them is unlikely, and would only have one wait."""
    digest = hashlib.sha256(f"{tenant_id}/{sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
