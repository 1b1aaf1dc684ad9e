"""Revision numbers of documents: each is given out once, even when the document is deleted in between.

Were a number given out twice, a straggling job of the deleted document could pass for the new one's.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlmodel import col

from rag_server.metadata.session import Scope
from rag_server.metadata.tables import DocumentRevisionRow


async def next_revision(scope: Scope, tenant_id: str, collection_uid: str, document_id: str) -> int:
    """Give out the next number; the first is 1. The caller holds the collection's lock."""
    row = await _counter(scope, tenant_id, collection_uid, document_id)
    if row is None:
        row = DocumentRevisionRow(
            tenant_id=tenant_id, collection_uid=collection_uid, document_id=document_id, last_revision=0
        )
        scope.session.add(row)
    row.last_revision += 1
    await scope.session.flush()
    return row.last_revision


async def last_revision(scope: Scope, tenant_id: str, collection_uid: str, document_id: str) -> int:
    """Return the last number given out; 0: none."""
    row = await _counter(scope, tenant_id, collection_uid, document_id)
    return 0 if row is None else row.last_revision


async def _counter(
    scope: Scope, tenant_id: str, collection_uid: str, document_id: str
) -> DocumentRevisionRow | None:
    statement = select(DocumentRevisionRow).where(
        col(DocumentRevisionRow.tenant_id) == tenant_id,
        col(DocumentRevisionRow.collection_uid) == collection_uid,
        col(DocumentRevisionRow.document_id) == document_id,
    )
    return (await scope.session.scalars(statement)).one_or_none()
