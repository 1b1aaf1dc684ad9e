"""The collections as this process knows them: a query asks memory, not the database, what it searches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from cachetools import LRUCache

from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Collection
from rag_server.errors import NotFound
from rag_server.metadata.database import Database

_Key = tuple[str, str]
"""Tenant and collection id."""

_HEADS_PER_COLLECTION = 16
"""A head is some hundred bytes, so they are kept for longer than the collections."""
_CHANGES = 1000
"""Read at a time."""


class CollectionDirectory:
    """Answers from memory what changes only with a commit, and forgets it at that moment.

    Whoever has committed in this process and then asks is answered as of that commit, or a later one.
    Commits of other processes count from their `announce` on.

    A reading of the database may begin before a commit and end after it. Its result is remembered only if
    nothing was announced of that collection meanwhile, and whoever asks after the announcement waits for a
    later reading.
    """

    def __init__(self, database: Database, *, max_collections: int = 4096) -> None:
        self._database = database
        self._collections: LRUCache[_Key, Collection] = LRUCache(max_collections)
        self._heads: LRUCache[str, int | None] = LRUCache(max_collections * _HEADS_PER_COLLECTION)
        """By uid; None: deleted, which is final."""
        self._readings: dict[_Key, asyncio.Task[Collection]] = {}
        """Those whose result may still be remembered."""
        database.on_collections_changed(self.announce)

    async def get_collections(self, tenant_id: str, collection_ids: Sequence[str]) -> list[Collection]:
        """Return the collections, in order. Raises `NotFound`.

        The objects are shared between callers, who leave their dictionaries as they are.
        """
        return [await self._get((tenant_id, each)) for each in collection_ids]

    def peek(self, tenant_id: str, collection_id: str) -> Collection | None:
        """Return a collection that is remembered, as of the latest commit; None: it has to be asked for."""
        return self._collections.get((tenant_id, collection_id))

    async def visible_revisions(
        self, tenant_id: str, collection_uid: str, document_ids: Sequence[str]
    ) -> Mapping[str, int]:
        """Return the visible revision of each of the documents that has one, from the database."""
        if not document_ids:
            return {}
        async with self._database.snapshot() as tx:
            return await tx.documents.revisions_of(tenant_id, collection_uid, document_ids)

    async def deleted_since(
        self, tenant_id: str, collection_uid: str, revision: int
    ) -> frozenset[str] | None:
        """Return the documents that were deleted after `revision`, from the database.

        None: the collection is gone, or its log does not reach so far back.
        """
        deleted: set[str] = set()
        async with self._database.snapshot() as tx:
            while True:
                try:
                    changes = await tx.changes.since(tenant_id, collection_uid, revision, limit=_CHANGES)
                except NotFound:
                    return None
                if changes is None:
                    return None
                if not changes:
                    return frozenset(deleted)
                deleted |= {change.document_id for change in changes if change.document_revision is None}
                revision = changes[-1].revision

    def head_revision(self, collection_uid: str) -> int | None:
        """Return the latest revision that was announced or read; it never goes back.

        None: the collection was deleted, or not heard of lately.
        """
        return self._heads.get(collection_uid)

    def known(self) -> set[str]:
        """Return the uids of the collections of which a revision is remembered."""
        return {uid for uid, revision in self._heads.items() if revision is not None}

    def forget(self) -> None:
        """Read every collection anew when it is next asked for: commits of others may have been missed.

        Their latest revisions stay, since these never go back: follow up with an `announce` of all.
        """
        self._collections.clear()
        self._readings.clear()

    def announce(self, changes: Sequence[CollectionChange]) -> None:
        """Take note of a commit, of this process or another. Announcing twice or out of order is harmless."""
        for change in changes:
            key = (change.tenant_id, change.collection_id)
            self._collections.pop(key, None)
            self._readings.pop(key, None)
            self._raise_head(change.collection_uid, change.revision)

    async def _get(self, key: _Key) -> Collection:
        known = self._collections.get(key)
        if known is not None:
            return known
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = asyncio.create_task(self._read(key))
            reading.add_done_callback(partial(self._remember, key))
        # shielded: others may wait for it, too, when this caller leaves
        return await asyncio.shield(reading)

    async def _read(self, key: _Key) -> Collection:
        tenant_id, collection_id = key
        async with self._database.snapshot() as tx:
            return await tx.collections.get(tenant_id, collection_id)

    def _remember(self, key: _Key, reading: asyncio.Task[Collection]) -> None:
        is_current = self._readings.get(key) is reading
        if is_current:
            del self._readings[key]
        if reading.cancelled() or reading.exception() is not None:
            return
        collection = reading.result()
        self._raise_head(collection.uid, collection.revision)
        if is_current:
            self._collections[key] = collection

    def _raise_head(self, collection_uid: str, revision: int | None) -> None:
        known = self._heads.get(collection_uid, 0)
        self._heads[collection_uid] = None if known is None or revision is None else max(known, revision)
