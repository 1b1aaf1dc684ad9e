"""Bulk reading of Milvus Lite: what its files hold, whatever happens to them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import milvus_lite.db
import numpy as np
import pytest

from rag_server.backends.milvus import MilvusChunkStore, lite
from rag_server.domain.collection import Collection
from rag_server.domain.stored import Scope
from rag_server.errors import Unavailable
from rag_server.testing.chunks import DIMENSION, axis, make_chunk, make_collection


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MilvusChunkStore]:
    opened = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    yield opened
    await opened.close()


async def write(store: MilvusChunkStore, collection: Collection, document_id: str, count: int) -> None:
    await store.ensure_collection(collection)
    chunks = [make_chunk(i, document_id=document_id) for i in range(count)]
    await store.upsert(collection, chunks, np.repeat(axis(0), count, axis=0), [["word"]] * count, {})


async def ids_in(store: MilvusChunkStore, collection: Collection) -> list[str]:
    return sorted([chunk.id async for batch in store.scan(collection) for chunk in batch.chunks])


def database(store: MilvusChunkStore) -> Any:
    return store._connection.database


async def test_scan_of_a_reopened_store_sees_what_was_not_flushed(tmp_path: Path) -> None:
    collection = make_collection()
    store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    await write(store, collection, "a", 3)
    await store.close()
    store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    assert len(await ids_in(store, collection)) == 3
    stored = await store.read_chunks(collection, [make_chunk(1, document_id="a").id])
    assert stored.chunks == [make_chunk(1, document_id="a")]
    await store.close()


async def test_scan_goes_on_with_its_moment_while_the_files_are_compacted(
    store: MilvusChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lite, "BATCH_ROWS", 2)
    collection = make_collection()
    for name in "abc":
        await write(store, collection, name, 4)
        await store._connection.client.flush(f"rag_{collection.uid}")
    folder = Path(database(store).get_collection(f"rag_{collection.uid}").data_dir)
    files = set(folder.rglob("data_*.parquet"))
    async with aclosing(store.scan(collection)) as batches:
        found = [chunk.id for chunk in (await anext(batches)).chunks]
        await store.delete_document(collection.tenant_id, collection.uid, "b")
        for name in "def":  # four files of one size are merged, and removed
            await write(store, collection, name, 4)
            await store._connection.client.flush(f"rag_{collection.uid}")
        left = [make_chunk(i, document_id=name).id for name in "acdef" for i in range(4)]
        assert await ids_in(store, collection) == left  # another scan waits for the compaction
        assert not files & set(folder.rglob("data_*.parquet"))
        async for batch in batches:
            found += [chunk.id for chunk in batch.chunks]
    assert sorted(found) == [make_chunk(i, document_id=name).id for name in "abc" for i in range(4)]


async def test_scan_leaves_no_snapshot_and_removes_those_of_a_dead_process(store: MilvusChunkStore) -> None:
    collection = make_collection()
    name = f"rag_{collection.uid}"
    await write(store, collection, "a", 2)
    database(store).create_snapshot(name, "rag-scan-left")
    database(store).create_snapshot(name, "kept")
    assert len(await ids_in(store, collection)) == 2
    assert [each["name"] for each in database(store).list_snapshots(name)] == ["kept"]


async def test_scan_of_unreadable_files_is_unavailable_and_says_nothing_of_them(
    store: MilvusChunkStore,
) -> None:
    collection = make_collection()
    await write(store, collection, "a", 2)
    await store._connection.client.flush(f"rag_{collection.uid}")
    folder = Path(database(store).get_collection(f"rag_{collection.uid}").data_dir)
    for path in folder.rglob("data_*.parquet"):
        path.write_bytes(b"not a file of columns")
    with pytest.raises(Unavailable) as caught:
        await ids_in(store, collection)
    assert caught.value.message == "the vector store does not answer"


async def test_read_chunks_loads_a_collection_that_was_released(store: MilvusChunkStore) -> None:
    collection = make_collection()
    await write(store, collection, "a", 1)
    await store._connection.client.release_collection(f"rag_{collection.uid}")
    chunk = make_chunk(0, document_id="a")
    stored = await store.read_chunks(collection, [chunk.id])
    assert stored.chunks == [chunk]
    assert stored.vectors.shape == (1, DIMENSION)


async def test_vectors_of_a_batch_do_not_keep_the_batch_in_memory(store: MilvusChunkStore) -> None:
    collection = make_collection()
    await write(store, collection, "a", 3)
    async for batch in store.scan(collection):
        assert batch.vectors.flags.owndata
        assert batch.vectors.flags.writeable


async def test_lexical_search_with_a_condition_scores_unflushed_rows_as_without(
    store: MilvusChunkStore,
) -> None:
    """Also when the write buffer has been there since before this process."""
    collection = make_collection()
    await store.ensure_collection(collection)
    chunks = [make_chunk(i) for i in range(6)]
    lexemes = [["word"], ["other"], ["other"], ["word", "other"], ["other"], ["last"]]
    await store.upsert(collection, chunks, np.repeat(axis(0), 6, axis=0), lexemes, {})
    everything = await store.search_lexical(collection, ["word"], limit=9)
    within = await store.search_lexical(collection, ["word"], limit=9, scope=Scope(chunk_ids=(chunks[0].id,)))
    assert [(hit.chunk, hit.score) for hit in within] == [(everything[0].chunk, everything[0].score)]


def slow_openings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Have each opening of a collection take a while; return the list that they are added to."""
    opened: list[object] = []
    begin = milvus_lite.db.Collection.__init__

    def begin_slowly(self: object, *arguments: Any, **options: Any) -> None:
        opened.append(self)
        time.sleep(0.1)
        begin(self, *arguments, **options)

    monkeypatch.setattr(milvus_lite.db.Collection, "__init__", begin_slowly)
    return opened


async def test_first_calls_at_once_work_on_one_and_the_same_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is written through one of two open copies is not in the other, nor on disk in the end."""
    collection = make_collection()
    store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    for name in "ab":
        await write(store, collection, name, 3)
    await store.close()
    opened = slow_openings(monkeypatch)
    store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    await asyncio.gather(
        store.search_dense(collection, axis(0)[0], limit=5),
        store.delete_document(collection.tenant_id, collection.uid, "a"),
        ids_in(store, collection),
        store.count(collection),
    )
    assert len(opened) == 1
    await store.close()
    store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    assert await store.count(collection) == len(await ids_in(store, collection)) == 3
    await store.close()


async def test_collection_is_made_and_opened_by_one_at_a_time(
    store: MilvusChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = slow_openings(monkeypatch)
    collection = make_collection()
    making = asyncio.create_task(store.ensure_collection(collection))
    async with asyncio.timeout(10):
        while not database(store).has_collection(f"rag_{collection.uid}"):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0)
    assert await store.count(collection) == 0
    await making
    assert len(opened) == 1


async def test_search_that_comes_while_the_first_deletion_goes_on_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make_collection()
    store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    for name in "ab":
        await write(store, collection, name, 3)
    await store.close()
    is_deleting, was_loaded = threading.Event(), threading.Event()
    query, load = milvus_lite.db.Collection.query, milvus_lite.db.Collection.load

    def query_slowly(self: object, *arguments: Any, **options: Any) -> Any:
        is_deleting.set()
        was_loaded.wait(0.5)
        return query(self, *arguments, **options)

    def load_slowly(self: object) -> None:
        load(self)
        was_loaded.set()
        time.sleep(0.2)  # as long as the deletion needs to end: who waits for the load looks after it

    store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    with monkeypatch.context() as patch:
        patch.setattr(milvus_lite.db.Collection, "query", query_slowly)
        patch.setattr(milvus_lite.db.Collection, "load", load_slowly)
        deleting = asyncio.create_task(store.delete_document(collection.tenant_id, collection.uid, "a"))
        assert await asyncio.to_thread(is_deleting.wait, 30)
        found = await store.search_dense(collection, axis(0)[0], limit=5)
        await deleting
    assert {hit.chunk.document_id for hit in found} <= {"a", "b"}
    found = await store.search_dense(collection, axis(0)[0], limit=5)
    assert {hit.chunk.document_id for hit in found} == {"b"}
    await store.close()
