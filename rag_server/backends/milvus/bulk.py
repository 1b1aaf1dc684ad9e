"""Reading many chunks with all that was written with them: by their ids, or the whole collection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rag_server.backends.milvus import expression, row, schema
from rag_server.backends.milvus.calls import CollectionCalls, Rows, failures
from rag_server.backends.milvus.connection import RETRIES, Connection
from rag_server.domain.collection import Collection
from rag_server.domain.stored import StoredChunks

if TYPE_CHECKING:
    from rag_server.backends.milvus.lite import Snapshot

_PAGE_ROWS = 1_000
"""Per call: a few MB of usual chunks, where servers send 100 MB at most."""


class BulkReader:
    """Reads from the engine in this process directly, else page by page from the server."""

    def __init__(self, connection: Connection, calls: CollectionCalls) -> None:
        self._connection = connection
        self._calls = calls

    async def read(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        """Return the chunks of `chunk_ids` that are there, in their order, each once."""
        name = schema.collection_name(collection.uid)
        ids = list(dict.fromkeys(chunk_ids))
        found: dict[str, dict[str, object]] = {}
        for start in range(0, len(ids), _PAGE_ROWS):
            page = ids[start : start + _PAGE_ROWS]
            get = partial(self._get, name, page)
            rows = await self._calls.read(name, "read_chunks", get, is_search=False)
            found |= {each["id"]: each for each in rows if each["tenant_id"] == collection.tenant_id}
        ordered = [found[chunk_id] for chunk_id in ids if chunk_id in found]
        return await asyncio.to_thread(_to_stored, ordered, collection)

    def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        """Yield all chunks, each once, in batches."""
        return (
            self._scan_pages(collection)
            if self._connection.database is None
            else self._scan_files(collection)
        )

    async def _get(self, name: str, ids: list[str]) -> Rows:
        if self._connection.database is not None:
            from rag_server.backends.milvus.lite import read_rows

            # over the port it takes three times as long
            return await asyncio.to_thread(read_rows, self._connection.database, name, ids)
        # not `client.get`: it does not quote the ids
        found = await self._connection.client.query(
            name,
            filter=expression.id_in(ids),
            output_fields=list(schema.STORED_COLUMNS),
            consistency_level="Strong",
            retry_times=RETRIES,
        )
        return list(found)

    async def _scan_files(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        from rag_server.backends.milvus.lite import Snapshot

        name = schema.collection_name(collection.uid)
        taken: list[Snapshot] = []

        async def take() -> None:
            taken.append(await asyncio.to_thread(Snapshot.take, self._connection.database, name))

        if not await self._calls.write(name, "scan", take):
            return
        batches = _decode(taken.pop(), collection)
        while True:
            with failures("scan"):
                batch = await asyncio.to_thread(next, batches, None)
            if batch is None:
                return
            yield batch

    async def _scan_pages(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        """Yield pages in the order of their ids, as pymilvus's `QueryIterator` asks for them.

        That one is not used because it does not quote the id that it continues from.
        """
        name = schema.collection_name(collection.uid)
        last_id = ""
        while True:
            rows = await self._calls.read(
                name, "scan", partial(self._page, name, expression.after(collection.tenant_id, last_id))
            )
            if rows:
                last_id = rows[-1]["id"]
                yield await asyncio.to_thread(_to_stored, rows, collection)
            if len(rows) < _PAGE_ROWS:
                return

    async def _page(self, name: str, scope: str) -> Rows:
        found = await self._connection.client.query(
            name,
            filter=scope,
            output_fields=list(schema.STORED_COLUMNS),
            limit=_PAGE_ROWS,
            iterator="True",
            reduce_stop_for_best="True",
            consistency_level="Strong",
            retry_times=RETRIES,
        )
        return sorted(found, key=lambda each: each["id"])


def _to_stored(rows: Rows, collection: Collection) -> StoredChunks:
    return row.to_stored(rows, row.vectors_of(rows, collection.dimension), collection)


def _decode(snapshot: Snapshot, collection: Collection) -> Iterator[StoredChunks]:
    """Yield what `snapshot` holds. Blocks."""
    for rows, vectors in snapshot.batches():
        own = [index for index, each in enumerate(rows) if each["tenant_id"] == collection.tenant_id]
        if own:
            yield row.to_stored([rows[index] for index in own], vectors[own], collection)
