from __future__ import annotations

import pytest

from rag_server.domain.collection import Collection
from rag_server.domain.retrieval import Candidate
from rag_server.errors import Unavailable
from rag_server.query.legs import find_candidates
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


async def test_legs_overfetch_is_rounded_up(visible: Visible) -> None:
    rows = Rows(*candidates("a", "b", "c", "d", "e", "f"))
    found = await find_candidates(rows.search, [BOOKS], visible, count=3, overfetch=1.5)
    assert ids(found) == ["a", "b", "c"]
    assert rows.limits == [5]


async def test_legs_drop_what_nobody_may_see(visible: Visible) -> None:
    old = candidates("a", revision=2)  # not yet, or no longer, the visible revision
    visible.hidden = lambda document_id: document_id == "doc-b"  # deleted
    rows = Rows(*old, *candidates("b", "c"))
    found = await find_candidates(rows.search, [BOOKS], visible, count=3, overfetch=1.0)
    assert ids(found) == ["c"]


async def test_legs_visibility_is_asked_for_the_tenant_and_each_document_once(visible: Visible) -> None:
    rows = Rows(
        Candidate(make_chunk("a", "one"), 0.9),
        Candidate(make_chunk("b", "one"), 0.8),
        Candidate(make_chunk("c", "two"), 0.7),
    )
    await find_candidates(rows.search, [BOOKS], visible, count=10, overfetch=1.0)
    ((tenant_id, uid, documents),) = visible.questions
    assert (tenant_id, uid) == ("acme", BOOKS.uid)
    assert sorted(documents) == ["one", "two"]


async def test_legs_ask_for_more_when_too_few_are_visible(visible: Visible) -> None:
    gone = {f"doc-{number:03}" for number in range(100)}
    visible.hidden = gone.__contains__
    rows = Rows(*candidates(*(f"{number:03}" for number in range(110))))
    found = await find_candidates(rows.search, [BOOKS], visible, count=5, overfetch=2.0)
    assert ids(found) == ["100", "101", "102", "103", "104"]
    assert rows.limits == [10, 40, 160]


async def test_legs_do_not_ask_again_when_the_store_has_no_more(visible: Visible) -> None:
    visible.hidden = lambda document_id: True
    rows = Rows(*candidates("a", "b"))
    assert await find_candidates(rows.search, [BOOKS], visible, count=5, overfetch=1.0) == []
    assert rows.limits == [5]


async def test_legs_stop_asking_after_some_rounds(visible: Visible) -> None:
    visible.hidden = lambda document_id: True
    rows = Rows(*candidates(*map(str, range(2000))))
    assert await find_candidates(rows.search, [BOOKS], visible, count=1, overfetch=1.0) == []
    assert rows.limits == [1, 4, 16, 64]


async def test_legs_never_ask_for_more_than_the_store_returns(visible: Visible) -> None:
    visible.hidden = lambda document_id: True
    rows = Rows(*candidates(*map(str, range(20_000))))
    await find_candidates(rows.search, [BOOKS], visible, count=10_000, overfetch=1.5)
    assert rows.limits == [15_000, 16_384]


async def test_legs_merge_collections_by_score_then_id(visible: Visible) -> None:
    rows = {
        "books": [Candidate(make_chunk("b"), 0.9), Candidate(make_chunk("d"), 0.5)],
        "notes": [Candidate(make_chunk("a"), 0.9), Candidate(make_chunk("c"), 0.7)],
    }

    async def search(collection: Collection, limit: int) -> list[Candidate]:
        return rows[collection.id]

    both = [make_collection("books"), make_collection("notes")]
    found = await find_candidates(search, both, visible, count=3, overfetch=1.0)
    assert ids(found) == ["a", "b", "c"]


async def test_legs_failing_collection_fails_the_search(visible: Visible) -> None:
    async def search(collection: Collection, limit: int) -> list[Candidate]:
        if collection.id == "notes":
            raise Unavailable("VECTOR_STORE_UNAVAILABLE", "m")
        return candidates("a")

    both = [make_collection("books"), make_collection("notes")]
    with pytest.raises(Unavailable):
        await find_candidates(search, both, visible, count=3, overfetch=1.0)
