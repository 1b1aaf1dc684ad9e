"""What every repository stands on: one open transaction, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from rag_server.errors import NotFound
from rag_server.metadata.tables import CollectionRow, Row
from rag_server.metadata.touched import TouchedCollections

Clock = Callable[[], datetime]
"""Returns the time now, timezone-aware."""

IDS_PER_STATEMENT = 500
"""Well below the number of parameters that either database takes (SQLite: 32 766)."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The open transaction that the repositories of one unit of work share."""

    session: AsyncSession
    clock: Clock
    touched: TouchedCollections = field(default_factory=TouchedCollections)

    async def insert_if_absent(self, row: Row) -> bool:
        """Insert `row`; return False, and leave the transaction usable, when its key is taken."""
        try:
            async with self.session.begin_nested():
                self.session.add(row)
        except IntegrityError:
            return False
        return True

    async def lock_collection(self, tenant_id: str, collection_uid: str) -> CollectionRow:
        """Return the collection's row, locked until the transaction ends.

        Whatever changes a collection's documents or accepts a job for them takes this lock first, so
        such transactions follow one another on every database (on SQLite all writers do anyway).
        Raises `NotFound`.
        """
        statement = (
            select(CollectionRow)
            .where(col(CollectionRow.tenant_id) == tenant_id, col(CollectionRow.uid) == collection_uid)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        row = (await self.session.scalars(statement)).one_or_none()
        if row is None:
            raise NotFound.for_resource("collection", collection_uid)
        return row
