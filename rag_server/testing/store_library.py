"""The `Library` of the retriever suite on any chunk store; which revisions are visible is kept in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rag_server.backends.protocols import ChunkStore
from rag_server.domain.collection import Collection
from rag_server.query.retriever import Retriever
from rag_server.query.store_retriever import StoreRetriever
from rag_server.testing.chunks import make_collection
from rag_server.testing.retrieval_corpus import DIMENSION, CorpusDocument


class StoreLibrary:
    """Writes to `store`, and searches it with `StoreRetriever`."""

    def __init__(self, store: ChunkStore, *, overfetch: float = 1.5) -> None:
        self._store = store
        self._overfetch = overfetch
        self._collection = make_collection(dimension=DIMENSION)
        self._written: dict[str, int] = {}
        self._visible: dict[str, int] = {}

    @property
    def collection(self) -> Collection:
        return self._collection

    async def put(self, documents: Sequence[CorpusDocument]) -> None:
        """Write new revisions and leave the old ones in the store, as if they were not swept yet."""
        await self._store.ensure_collection(self._collection)
        for document in documents:
            revision = self._written[document.id] = self._written.get(document.id, 0) + 1
            await self._store.upsert(
                self._collection,
                document.chunks(self._collection, revision),
                document.vectors,
                [passage.lexemes for passage in document.passages],
                dict(document.metadata),
            )
            self._visible[document.id] = revision
            self._grow()

    async def delete(self, document_id: str) -> None:
        """Hide the document, and leave its rows in the store."""
        del self._visible[document_id]
        self._grow()

    async def retriever(self) -> Retriever:
        return StoreRetriever(self._collection, self._store, self, overfetch=self._overfetch)

    async def visible_revisions(
        self, tenant_id: str, collection_uid: str, document_ids: Sequence[str]
    ) -> Mapping[str, int]:
        """Implement `Visibility`."""
        assert (tenant_id, collection_uid) == (self._collection.tenant_id, self._collection.uid)
        return {each: self._visible[each] for each in document_ids if each in self._visible}

    def _grow(self) -> None:
        self._collection = replace(self._collection, revision=self._collection.revision + 1)
