from __future__ import annotations

from collections.abc import Iterable

import pytest

from rag_server.domain.document import Chunk
from rag_server.domain.stored import StoredChunks
from rag_server.errors import NotFound
from rag_server.query.resident import source as source_module
from rag_server.query.resident.source import CollectionSource
from tests.unit.rag_server.query.resident.resident_library import Shelf, document


@pytest.fixture
def source(shelf: Shelf) -> CollectionSource:
    return CollectionSource(shelf.database, shelf.store)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_HEADS", "_CHANGES", "_CHUNKS"):
        monkeypatch.setattr(source_module, name, 2)


def chunks_of(batches: Iterable[StoredChunks]) -> list[Chunk]:
    return [chunk for batch in batches for chunk in batch.chunks]


@pytest.mark.usefixtures("small_pages")
async def test_source_contents_are_what_is_visible(shelf: Shelf, source: CollectionSource) -> None:
    await shelf.put(*(document(name, flag=True) for name in "bacde"))
    await shelf.put(document("c", seed=1, passages=1))
    await shelf.delete("d")
    contents = await source.contents(shelf.collection)
    assert contents.revision == 7
    heads = [(head.id, head.revision, head.chunk_count) for head in contents.heads]
    assert heads == [("a", 1, 3), ("b", 1, 3), ("c", 2, 1), ("e", 1, 3)]
    assert contents.heads[0].metadata == document("a", flag=True).metadata


async def test_source_contents_of_a_collection_made_again_are_not_the_new_ones(
    shelf: Shelf, source: CollectionSource
) -> None:
    """The name is the same, the collection another one."""
    await shelf.put(document("a"))
    await shelf.drop()
    again = await Shelf.make(shelf.database, shelf.store)
    await again.put(document("b"))
    with pytest.raises(NotFound):
        await source.contents(shelf.collection)
    with pytest.raises(NotFound):
        await source.increment(shelf.collection, 0)


@pytest.mark.usefixtures("small_pages")
async def test_source_increment_is_what_changed_since(shelf: Shelf, source: CollectionSource) -> None:
    await shelf.put(*(document(name) for name in "abcd"))
    since = shelf.collection.revision
    await shelf.put(document("b", seed=1), document("e"))
    await shelf.delete("c")
    await shelf.delete("d")
    await shelf.put(document("d", seed=1))
    increment = await source.increment(shelf.collection, since)
    assert increment is not None
    assert increment.revision == since + 5
    assert increment.changed_ids == set("bcde")
    assert increment.deleted_ids == set("cd")  # although there is a new d
    assert sorted((head.id, head.revision) for head in increment.heads) == [("b", 2), ("d", 2), ("e", 1)]
    assert await source.increment(shelf.collection, since + 6) is None  # it has not come so far


async def test_source_increment_of_nothing_is_empty(shelf: Shelf, source: CollectionSource) -> None:
    await shelf.put(document("a"))
    increment = await source.increment(shelf.collection, 1)
    assert increment is not None
    assert (increment.revision, list(increment.changed_ids), list(increment.heads)) == (1, [], [])


async def test_source_increment_across_a_gap_is_unknown(
    shelf: Shelf, source: CollectionSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag_server.metadata import changes

    monkeypatch.setattr(changes, "KEPT_REVISIONS", 2)
    monkeypatch.setattr(changes, "PRUNING_INTERVAL", 1)
    for seed in range(5):
        await shelf.put(document("a", seed))
    assert await source.increment(shelf.collection, 2) is None
    increment = await source.increment(shelf.collection, 3)
    assert increment is not None
    assert increment.revision == 5


@pytest.mark.usefixtures("small_pages")
async def test_source_reads_the_passages_of_documents(shelf: Shelf, source: CollectionSource) -> None:
    await shelf.put(*(document(name) for name in "abc"))
    increment = await source.increment(shelf.collection, 1)
    assert increment is not None
    batches = [batch async for batch in source.read(shelf.collection, increment.heads)]
    assert [len(batch) for batch in batches] == [2, 2, 2]
    found = sorted(chunks_of(batches), key=lambda chunk: (chunk.document_id, chunk.ordinal))
    assert found == [chunk for name in "bc" for chunk in document(name).chunks(shelf.collection, 1)]
    everything = chunks_of([batch async for batch in source.scan(shelf.collection)])
    assert len(everything) == 9
    assert [batch async for batch in source.read(shelf.collection, [])] == []
