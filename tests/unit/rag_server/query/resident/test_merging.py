from __future__ import annotations

import numpy as np
import pytest

from rag_server.query.resident import merging, segment
from rag_server.query.resident.merging import (
    choose_merge,
    choose_unindexed,
    merge_parts,
    rows_alive,
    with_small_merged,
)
from rag_server.query.resident.state import State
from rag_server.testing.chunks import make_collection
from tests.unit.rag_server.query.resident.resident_library import (
    assert_same,
    document,
    large_segment,
    segment_of,
)

COLLECTION = make_collection()


def add(state: State, *names: str, passages: int = 1) -> State:
    own = {name: (document(name, passages=passages), 1) for name in names}
    return state.with_segment(segment_of(COLLECTION, own, state.vocabulary))


def merged(state: State) -> State:
    """Merge until nothing is left to merge, as upkeep does."""
    while parts := choose_merge(state):
        made = merge_parts(parts, lambda: False)
        assert made is not None
        state = state.with_merged([part.segment.id for part in parts], made, rows_alive(state, parts))
    return state


def test_merging_keeps_few_parts_over_many_increments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logarithmically many, and each passage is copied that often."""
    monkeypatch.setattr(merging, "_SMALLEST_ROWS", 4)
    state, most, copied = State.empty(), 0, 0
    visible = {}
    for index in range(256):
        name = f"d{index:03}"
        visible[name] = (document(name, passages=1), 1)
        state = add(state, name)
        while parts := choose_merge(state):
            copied += sum(part.alive_count for part in parts)
            made = merge_parts(parts, lambda: False)
            assert made is not None
            state = state.with_merged([part.segment.id for part in parts], made, rows_alive(state, parts))
        most = max(most, len(state.parts))
    assert most <= 3 * 4  # three parts of each of the sizes below 4, 16, 64, 256
    assert copied <= 256 * 4 * 2
    expected = State.empty()
    expected = expected.with_segment(segment_of(COLLECTION, visible, expected.vocabulary))
    assert_same(COLLECTION, state, expected)


def test_merging_takes_small_parts_first_and_lets_large_ones_be() -> None:
    state = State.empty()
    state = state.with_segment(large_segment(COLLECTION, 3000, state.vocabulary))
    for name in "abcd":
        state = add(state, name)
    chosen = choose_merge(state)
    assert [len(part.segment) for part in chosen] == [1, 1, 1, 1]
    assert [len(part.segment) for part in merged(state).parts] == [3000, 4]


def test_merging_rewrites_a_part_with_many_dead_rows() -> None:
    state = add(State.empty(), *"abcdefghij")
    assert choose_merge(state.without_documents(set("abc"))) == ()
    less = state.without_documents(set("abcd"))
    assert choose_merge(less) == less.parts
    after = merged(less)
    assert [(part.alive, len(part.segment)) for part in after.parts] == [(None, 6)]
    assert_same(COLLECTION, after, less)


def test_merging_leaves_a_state_in_order_alone() -> None:
    state = State.empty()
    assert choose_merge(state) == ()
    for name in "abc":
        state = add(state, name)
    assert choose_merge(state) == ()


def test_with_small_merged_bounds_the_parts_even_if_nobody_merges() -> None:
    state, most = State.empty(), 0
    visible = {}
    for index in range(40):
        name = f"d{index:03}"
        visible[name] = (document(name, passages=1), 1)
        state = with_small_merged(add(state, name))
        most = max(most, len(state.parts))
    assert most < 12
    visible.pop("d003")
    state = state.without_documents({"d003"})
    expected = State.empty()
    expected = expected.with_segment(segment_of(COLLECTION, visible, expected.vocabulary))
    assert_same(COLLECTION, state, expected)


def test_with_small_merged_beside_a_merge_of_the_same_parts_loses_nothing() -> None:
    """Upkeep was at it when one more segment came."""
    state = State.empty()
    for name in "abcdefghijk":
        state = add(state, name)
    expected = add(state.without_documents({"b"}), "l")
    parts = state.parts[:4]
    made = merge_parts(parts, lambda: False)
    assert made is not None
    after = with_small_merged(add(state, "l")).without_documents({"b"})
    assert len(after.parts) == 1
    after = after.with_merged([part.segment.id for part in parts], made, rows_alive(after, parts))
    assert_same(COLLECTION, after, expected)


def test_rows_alive_says_what_died_since_the_merge_began() -> None:
    state = State.empty()
    for names in ("abc", "de", "f"):
        state = add(state, *names, passages=2)
    old = state.without_documents({"a"}).parts
    now = state.without_documents({"a", "c", "d", "f"})
    mask = rows_alive(now, old)
    assert mask is not None
    # of a part that is gone every row is dead
    assert mask.tolist() == [True, True, False, False, False, False, True, True, False, False]
    assert rows_alive(state.without_documents({"a"}), old) is None


def test_rows_alive_of_a_collection_that_was_read_anew_is_none_of_them() -> None:
    old = add(State.empty(), "a", "b")
    anew = add(State.empty(), "a", "b", "c")
    made = merge_parts(old.parts, lambda: False)
    assert made is not None
    mask = rows_alive(anew, old.parts)
    assert mask is not None
    assert not mask.any()
    after = anew.with_merged([part.segment.id for part in old.parts], made, mask)
    assert [part.segment.id for part in after.parts] == [part.segment.id for part in anew.parts]


def test_choose_unindexed_finds_a_segment_that_grew_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    state = add(State.empty(), *"abc")
    large = large_segment(COLLECTION, 300, state.vocabulary)
    state = state.with_segment(large)
    assert choose_unindexed(state) is None
    monkeypatch.setattr(segment, "CODES_THRESHOLD_ROWS", 200)
    assert choose_unindexed(state) is large
    indexed = large.indexed(lambda: False)
    assert indexed is not None
    assert choose_unindexed(state.with_renewed(indexed)) is None
    made = merge_parts(state.parts, lambda: False)
    assert made is not None
    assert made.is_indexed
    assert merge_parts(state.parts, lambda: True) is None
    np.testing.assert_array_equal(made.vectors[3:], large.vectors)
