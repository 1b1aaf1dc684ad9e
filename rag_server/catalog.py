"""What retrieval asks of the metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_server.domain.collection import Collection
from rag_server.metadata.database import Database


class MetadataCatalog:
    """Answers from the metadata store, each question from one snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_collections(self, tenant_id: str, collection_ids: Sequence[str]) -> list[Collection]:
        """Return the collections, in order. Raises `NotFound`."""
        async with self._database.snapshot() as tx:
            return [await tx.collections.get(tenant_id, each) for each in collection_ids]

    async def visible_revisions(
        self, tenant_id: str, collection_uid: str, document_ids: Sequence[str]
    ) -> Mapping[str, int]:
        """Return the visible revision of each of the documents that has one."""
        if not document_ids:
            return {}
        async with self._database.snapshot() as tx:
            return await tx.documents.revisions_of(tenant_id, collection_uid, document_ids)
