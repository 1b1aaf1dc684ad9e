"""Who searches: memory once a collection is there, the chunk store until then."""

from __future__ import annotations

import pytest

from rag_server.domain.retrieval import Engine, RetrievalRequest
from rag_server.errors import Unavailable
from tests.unit.rag_server.query.rig import TENANT, Rig, documents


async def engine_of(rig: Rig) -> Engine:
    request = RetrievalRequest(("books",), "heron", is_explained=True)
    result = await rig.retrieval.retrieve(TENANT, request)
    assert documents(result) == ["heron"]
    assert result.explanation is not None
    return result.explanation.collections[0].engine


async def test_first_query_has_the_collection_brought_into_memory_and_waits_for_a_small_one(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    assert await engine_of(rig) is Engine.RESIDENT
    assert await engine_of(rig) is Engine.RESIDENT
    assert rig.store.search_count == 0
    (entry,) = rig.pool.entries(TENANT)
    assert entry.query_count >= 1


async def test_collection_that_cannot_be_brought_into_memory_is_searched_in_the_store(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    rig.store.scan_failure = Unavailable("VECTOR_STORE_UNAVAILABLE", "m")
    assert [await engine_of(rig) for _ in range(2)] == [Engine.STORE] * 2
    assert rig.pool.entries(TENANT) == []
    assert rig.pool.store_query_count((await rig.collection()).uid) == 2


@pytest.mark.parametrize("engine", ["store"])
async def test_collection_beyond_the_budget_is_always_searched_in_the_store(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    assert [await engine_of(rig) for _ in range(2)] == [Engine.STORE] * 2
    assert rig.pool.entries(TENANT) == []


async def test_collection_in_memory_that_is_deleted_and_made_again_is_another_one(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    await rig.warm("books")
    async with rig.database.transaction() as tx:
        await tx.collections.delete(TENANT, "books")
    assert rig.pool.entries(TENANT) == []
    await rig.make("books")
    assert documents(await rig.ask("heron")) == []
