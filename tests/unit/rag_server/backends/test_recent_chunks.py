"""A store that remembers what was written last behaves as every chunk store must, and is asked for less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rag_server.backends.recent_chunks import RecentChunkStore
from rag_server.domain.collection import Collection
from rag_server.domain.stored import StoredChunks
from rag_server.testing.chunk_reading_suite import ChunkReadingSuite
from rag_server.testing.memory_chunk_store import MemoryChunkStore
from tests.unit.rag_server.query.conftest import EMPTY, make_chunk

COLLECTION = replace(EMPTY, dimension=4)


class CountingStore(MemoryChunkStore):
    """Counts the chunks that are asked of it by id."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        self.asked += chunk_ids
        return await super().read_chunks(collection, chunk_ids)


class TestRecentChunkStore(ChunkReadingSuite):
    @pytest.fixture
    def store(self) -> RecentChunkStore:
        return RecentChunkStore(MemoryChunkStore())


class TestRecentChunkStoreThatRemembersNothing(ChunkReadingSuite):
    @pytest.fixture
    def store(self) -> RecentChunkStore:
        return RecentChunkStore(MemoryChunkStore(), limit_bytes=0)


async def write(store: RecentChunkStore, *names: str) -> None:
    import numpy as np

    chunks = [replace(make_chunk(name, document_id=name), ordinal=0) for name in names]
    vectors = np.eye(4, dtype=np.float32)[: len(names)]
    await store.ensure_collection(COLLECTION)
    await store.upsert(COLLECTION, chunks, vectors, [["term"] for _ in names], {})


async def test_read_chunks_of_what_was_just_written_asks_nobody() -> None:
    inner = CountingStore()
    store = RecentChunkStore(inner)
    await write(store, "a", "b")
    stored = await store.read_chunks(COLLECTION, ["b", "a"])
    assert [chunk.id for chunk in stored.chunks] == ["b", "a"]
    assert stored.vectors.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert inner.asked == []


async def test_read_chunks_asks_for_what_it_does_not_remember_only() -> None:
    inner = CountingStore()
    await write(RecentChunkStore(inner), "a")
    store = RecentChunkStore(inner)
    await write(store, "b", "c")
    stored = await store.read_chunks(COLLECTION, ["c", "a", "b", "none"])
    assert [chunk.id for chunk in stored.chunks] == ["c", "a", "b"]
    assert inner.asked == ["a", "none"]


async def test_read_chunks_of_a_deleted_document_finds_nothing() -> None:
    store = RecentChunkStore(MemoryChunkStore())
    await write(store, "a", "b")
    await store.delete_document(COLLECTION.tenant_id, COLLECTION.uid, "a")
    assert [chunk.id for chunk in (await store.read_chunks(COLLECTION, ["a", "b"])).chunks] == ["b"]


async def test_memory_is_bounded_by_bytes() -> None:
    inner = CountingStore()
    store = RecentChunkStore(inner, limit_bytes=2_500)
    await write(store, "a", "b", "c")
    await store.read_chunks(COLLECTION, ["a", "b", "c"])
    assert inner.asked == ["a"]
