"""The chunk store as an engine: the conformance suite, and collections that change meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.retrieval import Engine, Leg
from rag_server.domain.stored import ANY, Hit, Scope
from rag_server.errors import Unavailable
from rag_server.query.retriever import Found, Probe
from rag_server.query.store_retriever import StoreRetriever
from rag_server.testing.chunks import DIMENSION, axis, make_chunk, make_collection
from rag_server.testing.memory_chunk_store import MemoryChunkStore
from rag_server.testing.retriever_suite import RetrieverSuite
from rag_server.testing.store_library import StoreLibrary

COLLECTION = make_collection()
QUERY = axis(0)[0]
WORD = LexicalQuery(("word",))


class TestStoreRetriever(RetrieverSuite):
    @pytest.fixture
    def library(self) -> StoreLibrary:
        return StoreLibrary(MemoryChunkStore())


class Visible:
    """Says that revision 1 of every document is visible, if not told otherwise; notes the questions."""

    def __init__(self) -> None:
        self.revisions: dict[str, int] = {}
        self.hidden: Callable[[str], bool] = lambda document_id: False
        self.questions: list[tuple[str, str, list[str]]] = []

    async def visible_revisions(
        self, tenant_id: str, collection_uid: str, document_ids: Sequence[str]
    ) -> Mapping[str, int]:
        self.questions.append((tenant_id, collection_uid, list(document_ids)))
        return {each: self.revisions.get(each, 1) for each in document_ids if not self.hidden(each)}


class WatchedStore(MemoryChunkStore):
    """Notes how many each search asked for, and calls back after each dense one."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []
        self.after_search: Callable[[], Any] | None = None

    async def search_dense(
        self, collection: Any, vector: Any, *, limit: int, scope: Scope = ANY
    ) -> list[Hit]:
        hits = await super().search_dense(collection, vector, limit=limit, scope=scope)
        if scope.chunk_ids is None:
            self.limits.append(limit)
            if self.after_search:
                await self.after_search()
        return hits

    async def add(
        self, document_id: str, *, revision: int = 1, nearness: float = 1.0, word: str = "word"
    ) -> None:
        """Write a document of one chunk; `nearness` of 1 is nearest to `QUERY`."""
        await self.ensure_collection(COLLECTION)
        vector = nearness * axis(0) + (1 - nearness) * axis(1)
        chunk = make_chunk(0, document_id=document_id, revision=revision)
        await self.upsert(COLLECTION, [chunk], vector, [[word]], {})


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def visible() -> Visible:
    return Visible()


async def find(
    store: MemoryChunkStore,
    visible: Visible,
    *,
    count: int,
    overfetch: float = 1.0,
    lexical: LexicalQuery | None = None,
) -> Found:
    retriever = StoreRetriever(COLLECTION, store, visible, overfetch=overfetch)
    (found,) = await retriever.search([Probe(QUERY, lexical, None, count)])
    return found


async def documents_of(found: Found) -> list[str]:
    """Return document and revision of each candidate."""
    chunks = await found.chunks(found.candidates.positions)
    return [f"{chunk.document_id}@{chunk.document_revision}" for chunk in chunks]


async def test_search_rounds_the_overfetch_up_and_cuts_to_count(
    store: WatchedStore, visible: Visible
) -> None:
    for index, name in enumerate("abcdef"):
        await store.add(name, nearness=1 - index / 10)
    found = await find(store, visible, count=3, overfetch=1.5)
    assert await documents_of(found) == ["a@1", "b@1", "c@1"]
    assert store.limits == [5]
    assert (found.engine, found.revision, found.chunk_count) == (Engine.STORE, COLLECTION.revision, None)


async def test_search_drops_what_nobody_may_see(store: WatchedStore, visible: Visible) -> None:
    await store.add("a", revision=2)  # not visible yet
    await store.add("b")  # deleted
    await store.add("c")
    visible.hidden = lambda document_id: document_id == "b"
    assert await documents_of(await find(store, visible, count=3)) == ["c@1"]


async def test_search_asks_the_metadata_once_for_all_legs_of_all_probes(
    store: WatchedStore, visible: Visible
) -> None:
    for name in "ab":
        await store.add(name)
    await store.add("c", word="other")
    retriever = StoreRetriever(COLLECTION, store, visible, overfetch=1.0)
    await retriever.search([Probe(QUERY, WORD, None, 9), Probe(None, LexicalQuery(("other",)), None, 9)])
    assert visible.questions == [(COLLECTION.tenant_id, COLLECTION.uid, ["a", "b", "c"])]


async def test_search_asks_for_more_when_too_few_are_visible(store: WatchedStore, visible: Visible) -> None:
    for index in range(110):
        await store.add(f"{index:03}", nearness=1 - index / 200)
    visible.hidden = lambda document_id: document_id < "100"
    found = await find(store, visible, count=5, overfetch=2.0)
    assert await documents_of(found) == ["100@1", "101@1", "102@1", "103@1", "104@1"]
    assert store.limits == [10, 40, 160]


async def test_search_does_not_ask_again_when_the_store_has_no_more(
    store: WatchedStore, visible: Visible
) -> None:
    await store.add("a")
    visible.hidden = lambda document_id: True
    assert len((await find(store, visible, count=5)).candidates) == 0
    assert store.limits == [5]


async def test_search_stops_asking_after_some_rounds(store: WatchedStore, visible: Visible) -> None:
    for index in range(300):
        await store.add(f"{index}")
    visible.hidden = lambda document_id: True
    assert len((await find(store, visible, count=1)).candidates) == 0
    assert store.limits == [1, 4, 16, 64]


async def test_search_never_asks_for_more_than_the_store_returns(visible: Visible) -> None:
    class Endless(WatchedStore):
        async def search_dense(self, *_: object, limit: int, **__: object) -> list[Hit]:
            self.limits.append(limit)
            return [Hit(make_chunk(0, document_id="gone"), 1.0)] * limit

    visible.hidden = lambda document_id: True
    store = Endless()
    await find(store, visible, count=10_000, overfetch=1.5)
    assert store.limits == [15_000, 16_384]


async def test_search_holds_both_legs_against_one_moment(store: WatchedStore, visible: Visible) -> None:
    await store.add("a", word="old")
    await store.add("a", revision=2)
    found = await find(store, visible, count=5, lexical=WORD)
    assert await documents_of(found) == ["a@1"]
    assert found.candidates.lexical is not None
    assert found.candidates.lexical.ranks.tolist() == [0]
    assert found.candidates.lexical.scores.tolist() == [0.0]


async def test_search_finds_a_document_that_was_replaced_meanwhile_in_its_new_revision(
    store: WatchedStore, visible: Visible
) -> None:
    await store.add("a")

    async def replace() -> None:
        await store.add("a", revision=2)
        await store.delete_document(COLLECTION.tenant_id, COLLECTION.uid, "a", before_revision=2)
        visible.revisions["a"] = 2

    store.after_search = replace
    assert await documents_of(await find(store, visible, count=5)) == ["a@2"]
    assert store.limits == [5, 5]


async def test_search_of_several_probes_ends_in_one_state_of_all(
    store: WatchedStore, visible: Visible
) -> None:
    """The first probe is done in round one, but `a` is replaced while the second still searches."""
    await store.add("a")
    for index in range(30):
        await store.add(f"old{index}", nearness=0.5)
    visible.hidden = lambda document_id: document_id.startswith("old") and document_id != "old29"

    async def replace() -> None:
        if len(store.limits) == 3:  # round two
            await store.add("a", revision=2)
            visible.revisions["a"] = 2

    store.after_search = replace
    retriever = StoreRetriever(COLLECTION, store, visible, overfetch=1.0)
    first, second = await retriever.search([Probe(QUERY, None, None, 1), Probe(QUERY, None, None, 2)])
    assert (await documents_of(first))[0] == "a@2"
    assert (await documents_of(second))[0] == "a@2"


async def test_search_is_not_prolonged_by_revisions_to_come(store: WatchedStore, visible: Visible) -> None:
    await store.add("a")
    await store.add("b", revision=2)
    assert await documents_of(await find(store, visible, count=5)) == ["a@1"]
    assert store.limits == [5]


async def test_search_ends_while_a_document_is_replaced_over_and_over(
    store: WatchedStore, visible: Visible
) -> None:
    await store.add("a")
    visible.revisions["a"] = 9
    assert len((await find(store, visible, count=5)).candidates) == 0
    assert len(store.limits) == 4


async def test_search_fails_when_a_leg_fails(visible: Visible) -> None:
    class Down(WatchedStore):
        async def search_lexical(self, *_: object, **__: object) -> list[Hit]:
            raise Unavailable("VECTOR_STORE_UNAVAILABLE", "m")

    store = Down()
    await store.add("a")
    with pytest.raises(Unavailable):
        await find(store, visible, count=3, lexical=WORD)


async def test_candidate_that_is_removed_before_it_is_scored_has_no_cosine(
    store: WatchedStore, visible: Visible
) -> None:
    """It is still a result of the leg that returned it."""
    await store.add("near", word="other")
    await store.add("far", nearness=0.1)

    async def remove(*_: object) -> Any:
        await store.delete_document(COLLECTION.tenant_id, COLLECTION.uid, "far")

    store.after_search = remove
    hits = await store.search_lexical(COLLECTION, ["word"], limit=1)

    async def lexical(*_: object, **__: object) -> list[Hit]:
        return hits

    store.search_lexical = lexical  # type: ignore[method-assign]
    found = await find(store, visible, count=1, lexical=WORD)
    assert await documents_of(found) == ["near@1", "far@1"]
    assert found.candidates.dense is not None
    assert found.candidates.dense.ranks.tolist() == [1, 0]
    assert np.isnan(found.candidates.dense.scores).tolist() == [False, True]
    vectors = await found.vectors(found.candidates.positions)
    np.testing.assert_allclose(vectors, [axis(0)[0], np.zeros(DIMENSION)])


async def test_inspect_tells_only_of_the_legs_that_ran(store: WatchedStore, visible: Visible) -> None:
    await store.add("a", nearness=0.5)
    await store.add("b", revision=2)
    found = await find(store, visible, count=1)
    chunk_ids = [make_chunk(0, document_id="a").id, make_chunk(0, document_id="b", revision=2).id]
    first, second = await found.inspect(chunk_ids)
    assert second is None  # nobody may see it
    assert first is not None
    assert first.is_passing
    assert first.scores == {Leg.DENSE: pytest.approx(0.5**0.5)}
