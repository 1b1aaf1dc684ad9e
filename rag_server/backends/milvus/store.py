"""Chunks and vectors in Milvus, one Milvus collection per collection of ours.

Why one each, see docs/decisions/0003-one-milvus-collection-per-collection.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pymilvus.exceptions import MilvusException

from rag_server.backends.milvus import expression, row, schema
from rag_server.backends.milvus.bulk import BulkReader
from rag_server.backends.milvus.calls import CollectionCalls, Rows, failures
from rag_server.backends.milvus.connection import RETRIES, Connection
from rag_server.backends.milvus.escape import escape_all
from rag_server.backends.milvus.write_buffer import WriteBuffer
from rag_server.backends.protocols import Embeddings
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.stored import ANY, Hit, Scope, StoredChunks
from rag_server.errors import Internal, NotFound

_BATCH_BYTES = 4 * 1024 * 1024
"""Per upsert call, well under the 64 MiB that a Milvus server takes by default."""
_BATCH_ROWS = 128
"""Per upsert call: about 50 ms of Milvus Lite, which is how long a search may wait for one."""
_TIE_MARGIN = 8
_TIE_GROWTH = 8


class MilvusChunkStore:
    """`ChunkStore` on Milvus Lite (a folder ending in `.db`) or on a Milvus server (`http://...`).

    Example:
        store = await MilvusChunkStore.open("data/chunks.db")
        await store.ensure_collection(collection)
        found = await store.search_dense(collection, vector, limit=10)
        await store.close()
    """

    def __init__(
        self,
        connection: Connection,
        *,
        dense_index: schema.DenseIndex,
        timeout_s: float,
        is_single_writer: bool,
    ) -> None:
        self._connection = connection
        self._dense_index = dense_index
        self._timeout_s = timeout_s
        self._calls = CollectionCalls(connection, timeout_s=timeout_s, is_single_writer=is_single_writer)
        self._bulk = BulkReader(connection, self._calls)
        self._defining = asyncio.Lock()
        self._defined: set[str] = set()
        self._buffer = WriteBuffer(connection, self._calls, is_ours=is_single_writer)

    @classmethod
    async def open(
        cls,
        uri: str,
        *,
        token: str = "",
        dense_index: schema.DenseIndex = "FLAT",
        timeout_s: float = 10.0,
        is_single_writer: bool | None = None,
    ) -> MilvusChunkStore:
        """Connect, starting Milvus Lite in this process where `uri` is a folder ending in `.db`.

        Args:
            uri: Folder of Milvus Lite or address of a server.
            token: `user:password` or API key of a server.
            dense_index: `FLAT` is exact; `HNSW` is for servers (Milvus Lite takes minutes to build one).
            timeout_s: Bound of every single call.
            is_single_writer: Keep reads and writes of a collection apart, which Milvus Lite needs;
                by default exactly when it runs in this process.

        Raises:
            Unavailable: Reason `VECTOR_STORE_LOCKED` or `VECTOR_STORE_UNAVAILABLE`.
        """
        connection = await Connection.open(uri, token=token, timeout_s=timeout_s)
        separate = uri.endswith(".db") if is_single_writer is None else is_single_writer
        return cls(connection, dense_index=dense_index, timeout_s=timeout_s, is_single_writer=separate)

    async def ensure_collection(self, collection: Collection) -> None:
        name = schema.collection_name(collection.uid)
        if name in self._defined:
            return
        async with self._defining:
            with failures("ensure_collection"):
                async with asyncio.timeout(self._timeout_s):
                    await self._create(name, collection)
            self._defined.add(name)

    async def _create(self, name: str, collection: Collection) -> None:
        """Create whatever is missing of a collection: a crash may have left it without an index."""
        client = self._connection.client
        if not await client.has_collection(name, retry_times=RETRIES):
            columns = schema.collection_schema(collection.dimension)
            try:
                await client.create_collection(
                    name, schema=columns, consistency_level="Strong", retry_times=RETRIES
                )
            except MilvusException:
                if not await client.has_collection(name, retry_times=RETRIES):
                    raise  # else another process was faster
        present = await client.list_indexes(name, retry_times=RETRIES)
        for field, params in schema.index_params(self._dense_index, collection.bm25).items():
            if field not in present:
                await self._connection.create_index(name, params)

    async def drop_collection(self, collection_uid: str) -> None:
        name = schema.collection_name(collection_uid)
        drop = partial(self._connection.client.drop_collection, name, retry_times=RETRIES)
        async with self._defining:
            self._defined.discard(name)
            await self._calls.drop(name, drop)
        self._buffer.forget(name)

    async def upsert(
        self,
        collection: Collection,
        chunks: Sequence[Chunk],
        vectors: Embeddings,
        lexemes: Sequence[Sequence[str]],
        metadata: dict[str, object],
    ) -> None:
        row.check_vectors(vectors, count=len(chunks), dimension=collection.dimension)
        if len(lexemes) != len(chunks):
            raise Internal("LEXEMES_INVALID", "one lexeme list per chunk is needed")
        document = row.metadata_document(metadata)
        row.check_metadata(document)
        name = schema.collection_name(collection.uid)
        rows = await asyncio.to_thread(
            lambda: [row.to_row(*entry, document) for entry in zip(chunks, vectors, lexemes, strict=True)]
        )
        for batch in _batches(rows):
            send = partial(self._connection.client.upsert, name, batch, retry_times=RETRIES)
            if not await self._calls.write(name, "upsert", send):
                self._defined.discard(name)
                raise NotFound.for_resource("collection", collection.id)
            await self._buffer.add(name, len(batch))

    async def delete_document(
        self,
        tenant_id: str,
        collection_uid: str,
        document_id: str,
        *,
        revision: int | None = None,
        before_revision: int | None = None,
    ) -> None:
        name = schema.collection_name(collection_uid)
        scope = expression.document_scope(
            tenant_id, document_id, revision=revision, before_revision=before_revision
        )
        await self._calls.write(
            name,
            "delete_document",
            lambda: self._connection.client.delete(
                name, filter=scope, retry_times=RETRIES, consistency_level="Strong"
            ),
            is_delete=True,
        )

    async def search_dense(
        self,
        collection: Collection,
        vector: npt.NDArray[np.float32],
        *,
        limit: int,
        scope: Scope = ANY,
    ) -> list[Hit]:
        row.check_vectors(vector[np.newaxis], count=1, dimension=collection.dimension)
        return await self._search(collection, "dense", [float(x) for x in vector], limit=limit, scope=scope)

    async def search_lexical(
        self, collection: Collection, terms: Sequence[str], *, limit: int, scope: Scope = ANY
    ) -> list[Hit]:
        query = escape_all(terms)
        if not query:
            return []
        if scope != ANY:
            await self._buffer.settle(schema.collection_name(collection.uid))
        return await self._search(collection, "sparse", query, limit=limit, scope=scope)

    def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        return self._bulk.scan(collection)

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        return await self._bulk.read(collection, chunk_ids)

    async def _search(
        self, collection: Collection, column: str, query: str | list[float], *, limit: int, scope: Scope
    ) -> list[Hit]:
        """Search one column, fetching past `limit` until the tie at its end, if any, is complete."""
        name = schema.collection_name(collection.uid)
        condition = expression.tenant_scope(collection.tenant_id, scope)
        limit = min(limit, schema.MAX_RESULTS)
        count = min(limit + _TIE_MARGIN, schema.MAX_RESULTS)
        hits: Rows = []
        while limit > 0:
            hits = await self._calls.read(
                name, f"search_{column}", partial(self._hits, name, column, query, count, condition)
            )
            is_complete = len(hits) < count or hits[-1]["score"] < hits[limit - 1]["score"]
            if is_complete or count == schema.MAX_RESULTS:
                break
            count = min(count * _TIE_GROWTH, schema.MAX_RESULTS)
        hits.sort(key=lambda hit: (-hit["score"], hit["id"]))
        return [
            Hit(row.to_chunk(hit, tenant_id=collection.tenant_id, collection_id=collection.id), hit["score"])
            for hit in hits[:limit]
        ]

    async def _hits(
        self, name: str, column: str, query: str | list[float], count: int, scope: str
    ) -> list[dict[str, Any]]:
        if column == "dense":
            params = schema.dense_search_params(self._dense_index, count)
        else:
            params = {"metric_type": "BM25"}
        found = await self._connection.client.search(
            name,
            data=[query],
            anns_field=column,
            filter=scope,
            limit=count,
            output_fields=list(schema.CHUNK_COLUMNS),
            search_params=params,
            consistency_level="Strong",
            retry_times=RETRIES,
        )
        # BM25 scores are never negative, but Milvus Lite returns them with a minus sign
        return [
            {
                **hit["entity"],
                "id": hit["id"],
                "score": abs(hit["distance"]) if column == "sparse" else hit["distance"],
            }
            for hit in found[0]
        ]

    async def list_chunks(
        self, collection: Collection, document_id: str, revision: int, *, first_ordinal: int, limit: int
    ) -> list[Chunk]:
        if limit <= 0:
            return []
        name = schema.collection_name(collection.uid)
        limit = min(limit, schema.MAX_RESULTS)
        scope = expression.page_scope(
            collection.tenant_id, document_id, revision, first=first_ordinal, limit=limit
        )
        rows = await self._calls.read(
            name, "list_chunks", partial(self._query, name, scope, schema.CHUNK_COLUMNS)
        )
        chunks = [
            row.to_chunk(found, tenant_id=collection.tenant_id, collection_id=collection.id) for found in rows
        ]
        return sorted(chunks, key=lambda chunk: chunk.ordinal)

    async def count(self, collection: Collection) -> int:
        name = schema.collection_name(collection.uid)
        # All rows of a Milvus collection are one tenant's, so one row tells whether it is this one. Counting
        # with a filter would make Milvus Lite read every row whole.
        scope = expression.tenant_scope(collection.tenant_id)
        if not await self._calls.read(name, "count", partial(self._query, name, scope, ["id"], limit=1)):
            return 0
        rows = await self._calls.read(name, "count", partial(self._query, name, "", ["count(*)"]))
        return int(rows[0]["count(*)"]) if rows else 0

    async def _query(self, name: str, scope: str, columns: Sequence[str], **options: int) -> Rows:
        found = await self._connection.client.query(
            name,
            filter=scope,
            output_fields=list(columns),
            consistency_level="Strong",
            retry_times=RETRIES,
            **options,
        )
        return list(found)

    async def check(self) -> None:
        with failures("check"):
            async with asyncio.timeout(self._timeout_s):
                await self._connection.client.get_server_version(retry_times=RETRIES)

    async def close(self) -> None:
        await self._calls.drain()
        await self._connection.close()


def _batches(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield `rows` in order, in lists of at most `_BATCH_ROWS` and about `_BATCH_BYTES`."""
    batch: list[dict[str, Any]] = []
    size = 0
    for entry in rows:
        entry_bytes = row.row_bytes(entry)
        if batch and (len(batch) == _BATCH_ROWS or size + entry_bytes > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry_bytes
    if batch:
        yield batch
