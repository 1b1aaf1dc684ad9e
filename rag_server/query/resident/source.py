"""Where a collection in memory comes from: the metadata says what is visible, the chunk store holds it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import islice

from rag_server.backends.protocols import ChunkStore
from rag_server.domain.collection import Collection
from rag_server.domain.document import DocumentHead, chunk_id
from rag_server.domain.stored import StoredChunks
from rag_server.metadata.database import Database

_HEADS = 5_000
_CHANGES = 1_000
_CHUNKS = 1_000
"""Read in one go."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a collection at one revision."""

    revision: int
    heads: Sequence[DocumentHead]


@dataclass(frozen=True, slots=True)
class Increment:
    """What led from one revision to a later one."""

    revision: int
    changed_ids: frozenset[str]
    """Documents that were added, replaced or deleted."""
    deleted_ids: frozenset[str]
    """Those of them that were deleted, even if they have come back since."""
    heads: Sequence[DocumentHead]
    """Those of them that are visible now."""


class CollectionSource:
    """Reads collections for the resident engine."""

    def __init__(self, database: Database, store: ChunkStore) -> None:
        self._database = database
        self._store = store

    async def contents(self, collection: Collection) -> Contents:
        """Return what is visible now. Raises `NotFound`."""
        async with self._database.snapshot() as tx:
            current = await tx.collections.get_by_uid(collection.tenant_id, collection.uid)
            heads: list[DocumentHead] = []
            after_id = ""
            while page := await tx.documents.scan(
                collection.tenant_id, collection.uid, after_id=after_id, limit=_HEADS
            ):
                heads += page
                after_id = page[-1].id
        return Contents(current.revision, heads)

    async def increment(self, collection: Collection, revision: int) -> Increment | None:
        """Return what changed since `revision`; None when it is too long ago to tell. Raises `NotFound`."""
        async with self._database.snapshot() as tx:
            changed: dict[str, None] = {}
            deleted: set[str] = set()
            while True:
                changes = await tx.changes.since(
                    collection.tenant_id, collection.uid, revision, limit=_CHANGES
                )
                if changes is None:
                    return None
                if not changes:
                    break
                changed |= dict.fromkeys(change.document_id for change in changes)
                deleted |= {change.document_id for change in changes if change.document_revision is None}
                revision = changes[-1].revision
            heads = await tx.documents.heads_of(collection.tenant_id, collection.uid, changed)
        return Increment(revision, frozenset(changed), frozenset(deleted), list(heads.values()))

    def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        """Yield everything that the store holds of a collection, in batches; close it when leaving early."""
        return self._store.scan(collection)

    async def read(
        self, collection: Collection, heads: Sequence[DocumentHead]
    ) -> AsyncGenerator[StoredChunks, None]:
        """Yield the passages of some documents, in batches; what the store lacks is left out."""
        ids = (
            chunk_id(collection.tenant_id, collection.uid, head.id, head.revision, ordinal)
            for head in heads
            for ordinal in range(head.chunk_count)
        )
        while batch := list(islice(ids, _CHUNKS)):
            yield await self._store.read_chunks(collection, batch)
