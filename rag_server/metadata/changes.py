"""Changes: the log by which readers that keep a collection in memory catch up."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlmodel import col

from rag_server.domain.change import DocumentChange
from rag_server.errors import NotFound
from rag_server.metadata.session import Scope
from rag_server.metadata.tables import CollectionChangeRow, CollectionRow

KEPT_REVISIONS = 10_000
"""How far the log of a collection reaches back. Reading the whole collection costs little more than reading
that many changes of it."""
PRUNING_INTERVAL = 256
"""The writer prunes at every revision that is a multiple of this, so that most writes need not."""


class ChangeRepository:
    """The changes of each collection, one for each of its latest revisions."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add(self, tenant_id: str, collection_uid: str, change: DocumentChange) -> None:
        """Record what made a revision, in the transaction that makes it."""
        row = CollectionChangeRow(
            tenant_id=tenant_id,
            collection_uid=collection_uid,
            revision=change.revision,
            document_id=change.document_id,
            document_revision=change.document_revision,
            chunk_count=change.chunk_count,
            create_time=self._scope.clock(),
        )
        self._scope.session.add(row)
        await self._scope.session.flush()
        if change.revision % PRUNING_INTERVAL == 0:
            await self._prune(tenant_id, collection_uid, change.revision - KEPT_REVISIONS)

    async def since(
        self, tenant_id: str, collection_uid: str, revision: int, *, limit: int
    ) -> list[DocumentChange] | None:
        """Return up to `limit` changes after `revision`, without a gap and in order; none: it is the latest.

        None: the log cannot tell, because it does not reach back to `revision`, or because the collection
        has not come so far (as after its database was restored): read the collection anew.
        Raises `NotFound` for the collection.
        """
        statement = select(col(CollectionRow.revision)).where(
            col(CollectionRow.tenant_id) == tenant_id, col(CollectionRow.uid) == collection_uid
        )
        latest = (await self._scope.session.scalars(statement)).one_or_none()
        if latest is None:
            raise NotFound.for_resource("collection", collection_uid)
        if revision > latest:
            return None
        found = await self._read(tenant_id, collection_uid, revision, limit)
        expected = range(revision + 1, min(latest, revision + limit) + 1)
        return found if [change.revision for change in found] == [*expected] else None

    async def _read(
        self, tenant_id: str, collection_uid: str, revision: int, limit: int
    ) -> list[DocumentChange]:
        statement = (
            select(
                col(CollectionChangeRow.revision),
                col(CollectionChangeRow.document_id),
                col(CollectionChangeRow.document_revision),
                col(CollectionChangeRow.chunk_count),
            )
            .where(
                col(CollectionChangeRow.tenant_id) == tenant_id,
                col(CollectionChangeRow.collection_uid) == collection_uid,
                col(CollectionChangeRow.revision) > revision,
            )
            .order_by(col(CollectionChangeRow.revision))
            .limit(limit)
        )
        return [DocumentChange(*row) for row in await self._scope.session.execute(statement)]

    async def _prune(self, tenant_id: str, collection_uid: str, last: int) -> None:
        """Forget revisions up to `last`: a range of the primary key."""
        await self._scope.session.execute(
            delete(CollectionChangeRow).where(
                col(CollectionChangeRow.tenant_id) == tenant_id,
                col(CollectionChangeRow.collection_uid) == collection_uid,
                col(CollectionChangeRow.revision) <= last,
            )
        )
