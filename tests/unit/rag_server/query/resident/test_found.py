from __future__ import annotations

import numpy as np
import pytest

from rag_server.domain.document import chunk_id
from rag_server.domain.filter import Membership
from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.retrieval import Leg
from rag_server.query.resident.found import ResidentFound
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.search import search
from rag_server.query.resident.state import State
from rag_server.query.retriever import Probe
from rag_server.testing.chunks import make_collection
from tests.unit.rag_server.query.resident.resident_library import ALL, QUERY, document, find, segment_of

COLLECTION = make_collection()


def id_of(name: str, ordinal: int, revision: int = 1) -> str:
    return chunk_id(COLLECTION.tenant_id, COLLECTION.uid, name, revision, ordinal)


@pytest.fixture
def state() -> State:
    """Return a state in which `b` is dead and in its second revision alive."""
    made = State.empty(3)
    first = {name: (document(name), 1) for name in "abc"}
    made = made.with_segment(segment_of(COLLECTION, first, made.vocabulary)).without_documents({"b"})
    second = {"b": (document("b", seed=1, passages=5), 2)}
    return made.with_segment(segment_of(COLLECTION, second, made.vocabulary))


async def test_found_chunks_are_the_stored_ones(state: State) -> None:
    found = find(COLLECTION, state, Probe(QUERY, None, None, ALL))
    chunks = await found.chunks(found.candidates.positions)
    expected = [
        *document("a").chunks(COLLECTION, 1),
        *document("c").chunks(COLLECTION, 1),
        *document("b", seed=1, passages=5).chunks(COLLECTION, 2),
    ]
    assert sorted(chunks, key=lambda chunk: chunk.id) == sorted(expected, key=lambda chunk: chunk.id)
    assert (found.chunk_count, found.passing_count, found.revision) == (11, 11, 3)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
async def test_found_neighbours_are_of_the_same_document_and_revision(state: State, count: int) -> None:
    found = find(COLLECTION, state, Probe(QUERY, None, None, ALL))
    chunks = await found.chunks(found.candidates.positions)
    around = await found.neighbours(found.candidates.positions, count)
    by_document = {
        name: [chunk for chunk in sorted(chunks, key=lambda each: each.ordinal) if chunk.document_id == name]
        for name in "abc"
    }
    for chunk, (before, after) in zip(chunks, around, strict=True):
        own = by_document[chunk.document_id]
        assert before == own[max(0, chunk.ordinal - count) : chunk.ordinal]
        assert after == own[chunk.ordinal + 1 : chunk.ordinal + 1 + count]


async def test_found_inspects_any_chunk_of_the_state(state: State) -> None:
    probe = Probe(QUERY, LexicalQuery(("router",)), Membership("document_id", ("a", "b")), 1)
    found = find(COLLECTION, state, probe)
    asked = [id_of("a", 0), id_of("c", 2), id_of("b", 4, 2), id_of("b", 0, 1), "", "absent", "ñ\0"]
    passed, filtered, other, *absent = await found.inspect(asked)
    assert passed is not None
    assert filtered is not None
    assert other is not None
    assert (passed.is_passing, filtered.is_passing, other.is_passing) == (True, False, True)
    assert absent == [None] * 4  # also the old revision, which is dead
    assert passed.scores.keys() == {Leg.DENSE, Leg.LEXICAL}
    expected = float(document("c").passages[2].vector @ QUERY)
    assert filtered.scores[Leg.DENSE] == pytest.approx(expected, abs=1e-6)
    alone = find(COLLECTION, state, Probe(None, LexicalQuery(("router",)), None, 1))
    (inspected,) = await alone.inspect([id_of("a", 0)])
    assert inspected is not None
    assert inspected.scores.keys() == {Leg.LEXICAL}


async def test_found_keeps_what_it_found_when_the_collection_moves_on(state: State) -> None:
    found = find(COLLECTION, state, Probe(QUERY, None, None, ALL))
    positions = found.candidates.positions
    before = await found.chunks(positions)
    vectors = await found.vectors(positions)
    after = state.without_documents({"a", "b", "c"})
    assert find(COLLECTION, after).chunk_count == 0
    assert await found.chunks(positions) == before
    np.testing.assert_array_equal(await found.vectors(positions), vectors)
    assert [each is not None for each in await found.inspect([id_of("a", 0)])] == [True]


def test_found_says_how_vectors_were_searched_and_whether_it_is_stale(state: State) -> None:
    probe = Probe(None, LexicalQuery(("router",)), None, 5)
    (hits,) = search(state, [probe], COLLECTION.bm25, MaskCache(0))
    found = ResidentFound(COLLECTION, state, probe, hits, is_stale=True)
    assert (found.dense_method, found.is_stale) == ("", True)
    assert find(COLLECTION, state).dense_method == "exact"
