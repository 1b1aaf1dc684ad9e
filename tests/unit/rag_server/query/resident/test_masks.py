from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rag_server.domain.filter import Comparison, Filter, Membership, Operator
from rag_server.domain.lexical import LexicalQuery
from rag_server.query.resident import filter_mask
from rag_server.query.resident import masks as masks_module
from rag_server.query.resident import segment as segment_module
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.state import State
from rag_server.testing.chunks import make_collection
from rag_server.testing.filter_reference import matches
from rag_server.testing.retrieval_corpus import CorpusDocument, contains
from tests.unit.rag_server.query.resident.resident_library import document, segment_of

COLLECTION = make_collection()
DOCUMENTS = {
    "a": document("a", flag=True),
    "b": document("b", flag=1),
    "c": document("c", flag=1.0),
    "d": document("d", flag="1"),
}


def make_state(*parts: str) -> State:
    state = State.empty()
    for names in parts:
        own = {name: (DOCUMENTS[name], 1) for name in names}
        state = state.with_segment(segment_of(COLLECTION, own, state.vocabulary))
    return state


def equal(value: str | float | bool) -> Filter:
    return Comparison("metadata.flag", Operator.EQUAL, value)


def passing(
    cache: MaskCache, state: State, filter: Filter | None = None, lexical: LexicalQuery | None = None
) -> list[str]:
    """Return the ids of the rows that pass, each as often as rows of it do."""
    found = []
    for part, (mask, count) in zip(state.parts, cache.masks_of(state, filter, lexical), strict=True):
        ids = part.segment.documents.ids.to_list()
        rows = range(len(part.segment)) if mask is None else np.flatnonzero(mask)
        assert len(rows) == count
        found += [ids[part.segment.row_documents[row]] for row in rows]
    return found


def rows_of(names: str) -> list[str]:
    return [name for name in names for _ in range(3)]


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Filter]:
    """Return the filters that are evaluated, once for each segment."""
    seen: list[Filter] = []

    def matching(columns: object, filter: Filter) -> object:
        seen.append(filter)
        return original(columns, filter)  # type: ignore[arg-type]

    original = filter_mask.matching
    monkeypatch.setattr(segment_module, "matching", matching)
    return seen


def test_masks_without_conditions_are_the_living_rows() -> None:
    cache, state = MaskCache(1000), make_state("ab", "c")
    assert cache.masks_of(state, None, None) == [(None, 6), (None, 3)]
    assert cache.masks_of(state, None, LexicalQuery(("router",))) == [(None, 6), (None, 3)]
    assert passing(cache, state.without_documents({"a"})) == rows_of("bc")


def test_masks_of_a_filter_are_remembered_for_each_segment(evaluated: list[Filter]) -> None:
    cache, state = MaskCache(100_000), make_state("ab", "cd")
    for _ in range(3):
        assert passing(cache, state, equal("1")) == rows_of("d")
    assert len(evaluated) == 2
    state = state.with_segment(segment_of(COLLECTION, {"d": (DOCUMENTS["d"], 2)}, state.vocabulary))
    assert passing(cache, state, equal("1")) == rows_of("dd")
    assert len(evaluated) == 3


def test_masks_remembered_are_right_after_rows_have_died(evaluated: list[Filter]) -> None:
    cache, state = MaskCache(100_000), make_state("abd")
    asked = Membership("document_id", ("a", "d"))
    assert passing(cache, state, asked) == rows_of("ad")
    assert passing(cache, state.without_documents({"a"}), asked) == rows_of("d")
    assert passing(cache, state, asked) == rows_of("ad")
    assert len(evaluated) == 1


@pytest.mark.parametrize("order", [(True, 1, 1.0, "1"), ("1", 1.0, 1, True)])
def test_masks_of_equal_values_of_other_types_are_apart(order: tuple[bool | float | str, ...]) -> None:
    """True == 1 == 1.0 in Python, and the filters that hold them are equal, too."""
    cache, state = MaskCache(100_000), make_state("abcd")
    expected = {bool: "a", int: "bc", float: "bc", str: "d"}
    for _ in range(2):
        for value in order:
            assert passing(cache, state, equal(value)) == rows_of(expected[type(value)])


def test_masks_remembered_take_no_more_than_their_room(evaluated: list[Filter]) -> None:
    """The filters do not count, however long they are: their hashes are kept."""
    state = make_state("abcd")
    cache = MaskCache(3 * (12 + masks_module._ENTRY_BYTES))
    filters = [Membership("document_id", ("a" * 10_000, str(index))) for index in range(4)]
    for asked in filters:
        passing(cache, state, asked)
    assert len(cache._masks) == 3
    assert sum(sys.getsizeof(part) for key in cache._masks for part in key) < 1000
    passing(cache, state, filters[3])
    assert len(evaluated) == 4
    passing(cache, state, filters[0])
    assert len(evaluated) == 5


def test_masks_are_right_without_any_room() -> None:
    cache, state = MaskCache(0), make_state("abcd")
    assert passing(cache, state, equal("1")) == rows_of("d")
    assert len(cache._masks) == 0


@pytest.mark.parametrize(
    "lexical",
    [
        LexicalQuery(phrases=(("router",),)),
        LexicalQuery(phrases=(("router", "cable"), ("lamp",))),
        LexicalQuery(excluded=(("plaza",),)),
        LexicalQuery(excluded=(("fuse", "modem"), ("lamp",))),
        LexicalQuery(phrases=(("modem",),), excluded=(("lamp",),)),
        LexicalQuery(phrases=(("modem", "unknown"),)),
        LexicalQuery(excluded=(("modem", "unknown"),)),
    ],
    ids=str,
)
@pytest.mark.parametrize("filter", [None, equal(1)], ids=["all", "filtered"])
def test_masks_of_phrases_and_exclusions_are_those_of_the_reference(
    lexical: LexicalQuery, filter: Filter | None
) -> None:
    def is_passing(own: CorpusDocument, lexemes: tuple[str, ...]) -> bool:
        return (
            (filter is None or matches(filter, {}, own.metadata))
            and all(contains(lexemes, phrase) for phrase in lexical.phrases)
            and not any(contains(lexemes, phrase) for phrase in lexical.excluded)
        )

    state = make_state("ab", "cd").without_documents({"c"})
    expected = [
        name
        for name in "abd"
        for passage in DOCUMENTS[name].passages
        if is_passing(DOCUMENTS[name], passage.lexemes)
    ]
    assert passing(MaskCache(10_000), state, filter, lexical) == expected


def test_masks_asked_for_by_many_threads_are_right() -> None:
    cache, state = MaskCache(2 * (12 + masks_module._ENTRY_BYTES)), make_state("abcd")

    def ask(index: int) -> bool:
        name = "abcd"[index % 4]
        return passing(cache, state, Membership("document_id", (name,))) == rows_of(name)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(200)))
