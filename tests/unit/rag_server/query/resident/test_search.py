from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rag_server.domain.filter import Comparison, Operator
from rag_server.domain.lexical import Bm25, LexicalQuery
from rag_server.domain.retrieval import Leg
from rag_server.query.resident import dense
from rag_server.query.resident.dense import DenseSegment
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.search import Hits, dense_method, scores_at, search, vectors_at
from rag_server.query.resident.state import State
from rag_server.query.retriever import Probe
from rag_server.testing.chunks import make_collection
from rag_server.testing.retrieval_corpus import ReferenceSearch, unit_vectors
from tests.unit.rag_server.query.resident.resident_library import ALL, ODD, QUERY, document, segment_of

COLLECTION = make_collection()
PARAMETERS = Bm25()
DOCUMENTS = [document(name) for name in "abcdef"]
TERMS = LexicalQuery(("router", "lamp", "lamp"))


@pytest.fixture
def state() -> State:
    """Return a state of two parts; one document, and one revision of another, are dead in the first."""
    made = State.empty(5)
    first = {each.id: (each, 1) for each in DOCUMENTS[:4]} | {"x": (document("x"), 1)}
    first["d"] = (document("d", seed=9), 1)
    made = made.with_segment(segment_of(COLLECTION, first, made.vocabulary)).without_documents({"d", "x"})
    second = {each.id: (each, 2) for each in DOCUMENTS[3:]}
    return made.with_segment(segment_of(COLLECTION, second, made.vocabulary))


def hits(state: State, *probes: Probe) -> list[Hits]:
    return search(state, probes, PARAMETERS, MaskCache(10_000))


def keys(state: State) -> dict[int, tuple[str, int]]:
    """Return document and ordinal of each position."""
    return {
        part.base + row: (
            part.segment.documents.ids[int(part.segment.row_documents[row])],
            int(part.segment.passages.ordinals[row]),
        )
        for part in state.parts
        for row in range(len(part.segment))
    }


def test_search_gives_every_candidate_both_scores(state: State) -> None:
    reference = ReferenceSearch(DOCUMENTS)
    cosines, bm25 = reference.cosines(QUERY), reference.bm25_scores(TERMS.terms)
    by_position = keys(state)
    for count in (1, 3, ALL):
        (found,) = hits(state, Probe(QUERY, TERMS, None, count))
        assert found.candidates.dense is not None
        assert found.candidates.lexical is not None
        assert found.passing_count == 18
        for index, position in enumerate(found.candidates.positions.tolist()):
            key = by_position[position]
            assert found.candidates.dense.scores[index] == pytest.approx(cosines[key], abs=1e-6)
            assert found.candidates.lexical.scores[index] == pytest.approx(bm25[key], abs=1e-9)
        returned = np.count_nonzero(found.candidates.dense.ranks)
        assert returned == min(count, 18)


def test_search_probes_in_one_call_are_answered_as_one_by_one(state: State) -> None:
    """Also those that share their masks, and ask for other numbers of candidates."""
    queries = unit_vectors(7, seed=3)
    phrase = replace(TERMS, phrases=(("router",),))
    probes = [
        *(Probe(query, TERMS, ODD, 4) for query in queries),
        Probe(queries[0], TERMS, ODD, 2),
        Probe(queries[1], phrase, ODD, 4),
        Probe(queries[1], None, None, 4),
        Probe(None, TERMS, None, 4),
        Probe(None, replace(TERMS, excluded=(("lamp",),)), None, 4),
    ]
    together = hits(state, *probes)
    for probe, mine in zip(probes, together, strict=True):
        (alone,) = hits(state, probe)
        assert mine.candidates.positions.tolist() == alone.candidates.positions.tolist()
        assert mine.passing_count == alone.passing_count
        for leg, other in (
            (mine.candidates.dense, alone.candidates.dense),
            (mine.candidates.lexical, alone.candidates.lexical),
        ):
            assert (leg is None) == (other is None)
            if leg is not None and other is not None:
                assert leg.ranks.tolist() == other.ranks.tolist()
                assert leg.scores.tolist() == other.scores.tolist()


def test_search_probes_with_one_filter_share_one_dense_search(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although there are dead rows, so that each mask is a new one."""
    sizes = []
    original = dense.search

    def spy(segments: list[DenseSegment], queries: np.ndarray, count: int) -> object:
        sizes.append(len(queries))
        return original(segments, queries, count)

    monkeypatch.setattr(dense, "search", spy)
    hits(state, *(Probe(query, None, ODD, 4) for query in unit_vectors(5)))
    assert sizes == [5]


def test_search_of_terms_that_nobody_holds_ranks_nothing(state: State) -> None:
    (found,) = hits(state, Probe(None, LexicalQuery(("unknown",)), None, 4))
    assert len(found.candidates) == 0
    assert found.candidates.lexical is not None
    (found,) = hits(state, Probe(QUERY, LexicalQuery(("unknown",)), None, 4))
    assert found.candidates.lexical is not None
    assert found.candidates.lexical.ranks.tolist() == [0] * 4
    assert found.candidates.lexical.scores.tolist() == [0.0] * 4


def test_search_knows_nothing_of_a_term_that_came_later(state: State) -> None:
    """The vocabulary is that of all states."""
    state.vocabulary.add_all([["newcomer"]])
    query = LexicalQuery(("newcomer",), phrases=(("newcomer",),))
    (found,) = hits(state, Probe(QUERY, query, None, 4))
    assert (len(found.candidates), found.passing_count) == (0, 0)
    (found,) = hits(state, Probe(QUERY, LexicalQuery(excluded=(("newcomer",),)), None, 4))
    assert found.passing_count == 18


def test_search_that_nothing_passes_is_empty_in_both_legs(state: State) -> None:
    nothing = Comparison("metadata.seed", Operator.EQUAL, -1)
    (found,) = hits(state, Probe(QUERY, TERMS, nothing, 4))
    assert (len(found.candidates), found.passing_count) == (0, 0)
    assert found.candidates.dense is not None
    assert dense_method(state, found) == "exact"


def test_search_without_legs_finds_nothing_but_counts(state: State) -> None:
    (found,) = hits(state, Probe(None, None, ODD, 4))
    assert (found.candidates.dense, found.candidates.lexical, dense_method(state, found)) == (None, None, "")
    assert found.passing_count > 0


def test_scores_at_a_passage_are_those_of_the_search_whatever_passes(state: State) -> None:
    reference = ReferenceSearch(DOCUMENTS)
    cosines, bm25 = reference.cosines(QUERY), reference.bm25_scores(TERMS.terms)
    nothing = Comparison("metadata.seed", Operator.EQUAL, -1)
    probe = Probe(QUERY, TERMS, nothing, 4)
    (found,) = hits(state, probe)
    for part in state.parts:
        for row in range(len(part.segment)):
            if part.alive is None or part.alive[row]:
                scores = scores_at(state, found, probe, PARAMETERS, part.base + row)
                key = keys(state)[part.base + row]
                assert scores[Leg.DENSE] == pytest.approx(cosines[key], abs=1e-6)
                assert scores[Leg.LEXICAL] == pytest.approx(bm25[key], abs=1e-9)


def test_vectors_at_positions_are_in_their_order(state: State) -> None:
    last = state.parts[1]
    positions = np.array([last.base + 2, 0, last.base])
    expected = [last.segment.vectors[2], state.parts[0].segment.vectors[0], last.segment.vectors[0]]
    np.testing.assert_array_equal(vectors_at(state, positions), expected)
    assert vectors_at(State.empty(), np.zeros(0, np.int64)).shape == (0, 0)
