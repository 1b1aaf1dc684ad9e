"""Which collections a transaction changes, so that listeners hear of each once it is committed."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from rag_server.domain.change import CollectionChange
from rag_server.metadata.tables import CollectionRow


class TouchedCollections:
    """Collects what one transaction touches; a savepoint that is rolled back may leave a name too many."""

    def __init__(self) -> None:
        self._uids: set[str] = set()
        self._deleted: list[CollectionChange] = []

    def touch(self, collection_uid: str) -> None:
        """Note that the collection, or what it shows of its metadata fields, is changed."""
        self._uids.add(collection_uid)

    def delete(self, row: CollectionRow) -> None:
        """Note that the collection is deleted."""
        self._deleted.append(CollectionChange(row.tenant_id, row.id, row.uid, None))

    async def changes(self, session: AsyncSession) -> list[CollectionChange]:
        """Return what to tell, as the transaction will leave it; asked for just before the commit."""
        if not self._uids:
            return self._deleted
        statement = select(
            col(CollectionRow.tenant_id),
            col(CollectionRow.id),
            col(CollectionRow.uid),
            col(CollectionRow.revision),
        ).where(col(CollectionRow.uid).in_(self._uids))
        rows = await session.execute(statement)
        return [*self._deleted, *(CollectionChange(*row) for row in rows)]
