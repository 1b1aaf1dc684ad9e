"""Sweeps: the outbox towards the vector store and the blob store.

A sweep is written in the transaction that makes its target superfluous, so a crash in between loses
nothing; it is removed once the target is gone.
"""

from __future__ import annotations

from sqlalchemy import and_, delete, exists, or_, select
from sqlmodel import col

from rag_server.domain.ids import new_id
from rag_server.domain.sweep import Sweep, SweepKind
from rag_server.metadata.session import Scope
from rag_server.metadata.tables import SweepRow


class SweepRepository:
    """Removals that are due."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add_revisions(
        self,
        tenant_id: str,
        collection_uid: str,
        document_id: str,
        *,
        revision: int | None = None,
        before_revision: int | None = None,
    ) -> None:
        """Have the chunks of one `revision`, or of all before `before_revision`, removed.

        One of the two must be given: a sweep of "all revisions" could meet a later ingest of the same
        document and take its chunks along.
        """
        if (revision is None) == (before_revision is None):
            raise ValueError("give either revision or before_revision")
        await self._add(
            tenant_id,
            SweepKind.DOCUMENT_REVISIONS,
            collection_uid=collection_uid,
            document_id=document_id,
            revision=revision,
            before_revision=before_revision,
        )

    async def add_collection(self, tenant_id: str, collection_uid: str) -> None:
        """Have all chunks of a deleted collection removed."""
        await self._add(tenant_id, SweepKind.COLLECTION, collection_uid=collection_uid)

    async def add_blob(self, tenant_id: str, sha256: str) -> None:
        """Have the bytes removed, unless something refers to them by then."""
        await self._add(tenant_id, SweepKind.BLOB, sha256=sha256)

    async def is_due(self, tenant_id: str, collection_uid: str, document_id: str, revision: int) -> bool:
        """Whether the chunks of a revision are about to be removed."""
        statement = select(
            exists().where(
                col(SweepRow.tenant_id) == tenant_id,
                col(SweepRow.collection_uid) == collection_uid,
                or_(
                    col(SweepRow.kind) == SweepKind.COLLECTION.value,
                    and_(
                        col(SweepRow.document_id) == document_id,
                        or_(col(SweepRow.revision) == revision, col(SweepRow.before_revision) > revision),
                    ),
                ),
            )
        )
        return bool(await self._scope.session.scalar(statement))

    async def is_blob_due(self, tenant_id: str, sha256: str) -> bool:
        """Whether the bytes are about to be removed, if nothing refers to them."""
        statement = select(
            exists().where(col(SweepRow.tenant_id) == tenant_id, col(SweepRow.sha256) == sha256)
        )
        return bool(await self._scope.session.scalar(statement))

    async def _add(
        self,
        tenant_id: str,
        kind: SweepKind,
        *,
        collection_uid: str = "",
        document_id: str = "",
        revision: int | None = None,
        before_revision: int | None = None,
        sha256: str = "",
    ) -> None:
        row = SweepRow(
            tenant_id=tenant_id,
            id=new_id(),
            kind=kind.value,
            collection_uid=collection_uid,
            document_id=document_id,
            revision=revision,
            before_revision=before_revision,
            sha256=sha256,
            create_time=self._scope.clock(),
        )
        self._scope.session.add(row)
        await self._scope.session.flush()

    async def next_batch(self, *, limit: int, after_id: str = "") -> list[Sweep]:
        """Return due sweeps of all tenants, oldest first, from after `after_id` on."""
        statement = (
            select(SweepRow).where(col(SweepRow.id) > after_id).order_by(col(SweepRow.id)).limit(limit)
        )
        return [_to_domain(row) for row in await self._scope.session.scalars(statement)]

    async def done(self, tenant_id: str, sweep_id: str) -> None:
        """Remove a sweep whose target is gone. Idempotent."""
        await self._scope.session.execute(
            delete(SweepRow).where(col(SweepRow.tenant_id) == tenant_id, col(SweepRow.id) == sweep_id)
        )


def _to_domain(row: SweepRow) -> Sweep:
    return Sweep(
        tenant_id=row.tenant_id,
        id=row.id,
        kind=SweepKind(row.kind),
        collection_uid=row.collection_uid,
        document_id=row.document_id,
        revision=row.revision,
        before_revision=row.before_revision,
        sha256=row.sha256,
        create_time=row.create_time,
    )
