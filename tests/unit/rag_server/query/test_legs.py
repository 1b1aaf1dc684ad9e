from __future__ import annotations

import pytest

from rag_server.domain.collection import Collection
from rag_server.domain.retrieval import Candidate, Leg
from rag_server.errors import Unavailable
from rag_server.query.legs import Search, Visibility, search_legs
from rag_server.timing import Stopwatch
from tests.unit.rag_server.query.conftest import Visible, candidates, make_chunk, make_collection

BOOKS = make_collection("books")


class Rows:
    """A store of `rows`, best first; notes how many were asked for."""

    def __init__(self, *rows: Candidate) -> None:
        self.rows = list(rows)
        self.limits: list[int] = []

    async def search(self, collection: Collection, limit: int) -> list[Candidate]:
        self.limits.append(limit)
        return self.rows[:limit]


def ids(found: list[Candidate]) -> list[str]:
    return [each.chunk.id for each in found]


async def find(
    search: Search, collections: list[Collection], visibility: Visibility, *, count: int, overfetch: float
) -> list[Candidate]:
    """Search one leg alone."""
    found = await search_legs(
        {Leg.DENSE: search}, collections, visibility, Stopwatch(), count=count, overfetch=overfetch
    )
    return found[Leg.DENSE]


async def test_legs_overfetch_is_rounded_up(visible: Visible) -> None:
    rows = Rows(*candidates("a", "b", "c", "d", "e", "f"))
    found = await find(rows.search, [BOOKS], visible, count=3, overfetch=1.5)
    assert ids(found) == ["a", "b", "c"]
    assert rows.limits == [5]


async def test_legs_drop_what_nobody_may_see(visible: Visible) -> None:
    old = candidates("a", revision=2)  # not yet, or no longer, the visible revision
    visible.hidden = lambda document_id: document_id == "doc-b"  # deleted
    rows = Rows(*old, *candidates("b", "c"))
    found = await find(rows.search, [BOOKS], visible, count=3, overfetch=1.0)
    assert ids(found) == ["c"]


async def test_legs_visibility_is_asked_for_the_tenant_and_each_document_once(visible: Visible) -> None:
    rows = Rows(
        Candidate(make_chunk("a", "one"), 0.9),
        Candidate(make_chunk("b", "one"), 0.8),
        Candidate(make_chunk("c", "two"), 0.7),
    )
    await find(rows.search, [BOOKS], visible, count=10, overfetch=1.0)
    ((tenant_id, uid, documents),) = visible.questions
    assert (tenant_id, uid) == ("acme", BOOKS.uid)
    assert sorted(documents) == ["one", "two"]


async def test_legs_ask_for_more_when_too_few_are_visible(visible: Visible) -> None:
    gone = {f"doc-{number:03}" for number in range(100)}
    visible.hidden = gone.__contains__
    rows = Rows(*candidates(*(f"{number:03}" for number in range(110))))
    found = await find(rows.search, [BOOKS], visible, count=5, overfetch=2.0)
    assert ids(found) == ["100", "101", "102", "103", "104"]
    assert rows.limits == [10, 40, 160]


async def test_legs_do_not_ask_again_when_the_store_has_no_more(visible: Visible) -> None:
    visible.hidden = lambda document_id: True
    rows = Rows(*candidates("a", "b"))
    assert await find(rows.search, [BOOKS], visible, count=5, overfetch=1.0) == []
    assert rows.limits == [5]


async def test_legs_stop_asking_after_some_rounds(visible: Visible) -> None:
    visible.hidden = lambda document_id: True
    rows = Rows(*candidates(*map(str, range(2000))))
    assert await find(rows.search, [BOOKS], visible, count=1, overfetch=1.0) == []
    assert rows.limits == [1, 4, 16, 64]


async def test_legs_never_ask_for_more_than_the_store_returns(visible: Visible) -> None:
    visible.hidden = lambda document_id: True
    rows = Rows(*candidates(*map(str, range(20_000))))
    await find(rows.search, [BOOKS], visible, count=10_000, overfetch=1.5)
    assert rows.limits == [15_000, 16_384]


async def test_legs_merge_collections_by_score_then_id(visible: Visible) -> None:
    rows = {
        "books": [Candidate(make_chunk("b"), 0.9), Candidate(make_chunk("d"), 0.5)],
        "notes": [Candidate(make_chunk("a"), 0.9), Candidate(make_chunk("c"), 0.7)],
    }

    async def search(collection: Collection, limit: int) -> list[Candidate]:
        return rows[collection.id]

    both = [make_collection("books"), make_collection("notes")]
    found = await find(search, both, visible, count=3, overfetch=1.0)
    assert ids(found) == ["a", "b", "c"]


async def test_legs_failing_collection_fails_the_search(visible: Visible) -> None:
    async def search(collection: Collection, limit: int) -> list[Candidate]:
        if collection.id == "notes":
            raise Unavailable("VECTOR_STORE_UNAVAILABLE", "m")
        return candidates("a")

    both = [make_collection("books"), make_collection("notes")]
    with pytest.raises(Unavailable):
        await find(search, both, visible, count=3, overfetch=1.0)


async def test_legs_both_are_held_against_one_moment(visible: Visible) -> None:
    old, new = candidates("a"), candidates("a", revision=2)
    found = await search_legs(
        {Leg.DENSE: Rows(*old).search, Leg.LEXICAL: Rows(*new).search},
        [BOOKS],
        visible,
        Stopwatch(),
        count=5,
        overfetch=1.0,
    )
    assert found == {Leg.DENSE: old, Leg.LEXICAL: []}
    assert len(visible.questions) == 1


async def test_legs_document_replaced_during_the_search_is_found_in_its_new_revision() -> None:
    new = [Candidate(make_chunk("b", "doc-a", revision=2), 1.0)]
    visibility = Visible()
    rows = Rows(*candidates("a"))

    async def search(collection: Collection, limit: int) -> list[Candidate]:
        found = await rows.search(collection, limit)
        rows.rows = new  # the flip comes after the first search
        visibility.revision = 2
        return found

    assert await find(search, [BOOKS], visibility, count=5, overfetch=1.0) == new
    assert rows.limits == [5, 5]


async def test_legs_rows_of_a_revision_to_come_do_not_prolong_the_search(visible: Visible) -> None:
    rows = Rows(*candidates("a"), *candidates("b", revision=2))
    assert ids(await find(rows.search, [BOOKS], visible, count=5, overfetch=1.0)) == ["a"]
    assert rows.limits == [5]


async def test_legs_document_replaced_over_and_over_ends_the_search(visible: Visible) -> None:
    visible.revision = 9
    rows = Rows(*candidates("a"))
    assert await find(rows.search, [BOOKS], visible, count=5, overfetch=1.0) == []
    assert len(rows.limits) == 4
