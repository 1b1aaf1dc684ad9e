"""A chunk store that remembers what this process wrote last: who follows the writes need not read them back.

Milvus Lite reads by key only after it has prepared a whole collection for searching, which takes a minute at
200 000 chunks and doubles their memory; a collection in memory wants a few chunks that were written just now.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from rag_server.backends.protocols import ChunkStore, Embeddings
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.stored import ANY, Hit, Scope, StoredChunks

DEFAULT_BYTES: Final = 32 * 1024**2
_CHUNK_BYTES: Final = 1_000
_LEXEME_BYTES: Final = 64
"""Objects of a chunk and of a lexeme, about."""

_Key = tuple[str, str]
"""Collection uid and chunk id."""


@dataclass(frozen=True, slots=True)
class _Written:
    chunk: Chunk
    vector: npt.NDArray[np.float32]
    lexemes: list[str]

    @property
    def size_bytes(self) -> int:
        texts = 2 * len(self.chunk.text) + _LEXEME_BYTES * len(self.lexemes)
        texts += _LEXEME_BYTES * len(self.chunk.metadata)
        return _CHUNK_BYTES + texts + int(self.vector.nbytes)


class RecentChunkStore:
    """`ChunkStore` over another one; owns it. For one event loop.

    What is removed is forgotten before and after the store removes it: what is gone is never returned.
    """

    def __init__(self, store: ChunkStore, *, limit_bytes: int = DEFAULT_BYTES) -> None:
        """Remember chunks within `limit_bytes`, those written last."""
        self._store = store
        self._written: LRUCache[_Key, _Written] = LRUCache(
            limit_bytes, getsizeof=lambda written: written.size_bytes
        )

    async def ensure_collection(self, collection: Collection) -> None:
        await self._store.ensure_collection(collection)

    async def drop_collection(self, collection_uid: str) -> None:
        self._forget(collection_uid)
        await self._store.drop_collection(collection_uid)
        self._forget(collection_uid)

    async def upsert(
        self,
        collection: Collection,
        chunks: Sequence[Chunk],
        vectors: Embeddings,
        lexemes: Sequence[Sequence[str]],
        metadata: dict[str, object],
    ) -> None:
        await self._store.upsert(collection, chunks, vectors, lexemes, metadata)
        for chunk, vector, terms in zip(chunks, vectors, lexemes, strict=True):
            written = _Written(chunk, np.array(vector, np.float32), list(terms))
            if written.size_bytes <= self._written.maxsize:
                self._written[collection.uid, chunk.id] = written

    async def delete_document(
        self,
        tenant_id: str,
        collection_uid: str,
        document_id: str,
        *,
        revision: int | None = None,
        before_revision: int | None = None,
    ) -> None:
        self._forget(collection_uid, document_id)
        await self._store.delete_document(
            tenant_id, collection_uid, document_id, revision=revision, before_revision=before_revision
        )
        self._forget(collection_uid, document_id)

    async def search_dense(
        self, collection: Collection, vector: npt.NDArray[np.float32], *, limit: int, scope: Scope = ANY
    ) -> list[Hit]:
        return await self._store.search_dense(collection, vector, limit=limit, scope=scope)

    async def search_lexical(
        self, collection: Collection, terms: Sequence[str], *, limit: int, scope: Scope = ANY
    ) -> list[Hit]:
        return await self._store.search_lexical(collection, terms, limit=limit, scope=scope)

    def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        return self._store.scan(collection)

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        ids = list(dict.fromkeys(chunk_ids))
        found = {each: written for each in ids if (written := self._written.get((collection.uid, each)))}
        missing = [each for each in ids if each not in found]
        if missing:
            stored = await self._store.read_chunks(collection, missing)
            found |= {
                chunk.id: _Written(chunk, vector, terms)
                for chunk, vector, terms in zip(stored.chunks, stored.vectors, stored.lexemes, strict=True)
            }
        rows = [found[each] for each in ids if each in found and self._is_of(collection, found[each].chunk)]
        vectors = np.zeros((len(rows), collection.dimension), np.float32)
        for row, written in enumerate(rows):
            vectors[row] = written.vector
        return StoredChunks([each.chunk for each in rows], vectors, [list(each.lexemes) for each in rows])

    async def list_chunks(
        self, collection: Collection, document_id: str, revision: int, *, first_ordinal: int, limit: int
    ) -> list[Chunk]:
        return await self._store.list_chunks(
            collection, document_id, revision, first_ordinal=first_ordinal, limit=limit
        )

    async def count(self, collection: Collection) -> int:
        return await self._store.count(collection)

    async def check(self) -> None:
        await self._store.check()

    async def close(self) -> None:
        self._written.clear()
        await self._store.close()

    def _forget(self, collection_uid: str, document_id: str | None = None) -> None:
        gone = [
            key
            for key, written in self._written.items()
            if key[0] == collection_uid and document_id in {None, written.chunk.document_id}
        ]
        for key in gone:
            del self._written[key]

    @staticmethod
    def _is_of(collection: Collection, chunk: Chunk) -> bool:
        return chunk.tenant_id == collection.tenant_id
