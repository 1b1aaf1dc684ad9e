from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rag_server.query.resident.merging import choose_merge, rows_alive
from rag_server.query.resident.segment import merge
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.state import Part, State
from rag_server.testing.chunks import make_collection
from rag_server.testing.retrieval_corpus import CorpusDocument
from tests.unit.rag_server.query.resident.resident_library import (
    Answer,
    answer_of,
    assert_same,
    assert_same_answer,
    document,
    find,
    now,
    segment_of,
)

COLLECTION = make_collection()
NAMES = "abcdefgh"
names = st.sampled_from(NAMES)


class StateMachine(RuleBasedStateMachine):
    """Whatever happened to a state, it is searched like one made from nothing; readers keep what they had."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.snapshots = SnapshotFolder(self.folder)
        self.state = State.empty()
        self.visible: dict[str, tuple[CorpusDocument, int]] = {}
        self.revisions = dict.fromkeys(NAMES, 0)
        self.merging: tuple[tuple[Part, ...], Any] | None = None
        self.readers: list[tuple[Any, Answer]] = []

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(changed=st.sets(names, min_size=1, max_size=3), passages=st.integers(0, 4))
    def publish(self, changed: set[str], passages: int) -> None:
        """A new revision of some documents becomes visible, in one increment."""
        fresh: dict[str, tuple[CorpusDocument, int]] = {}
        for name in changed:
            self.revisions[name] += 1
            fresh[name] = (document(name, self.revisions[name], passages), self.revisions[name])
        self.visible |= fresh
        segment = segment_of(COLLECTION, fresh, self.state.vocabulary)
        state = self.state.without_documents(changed).with_segment(segment)
        self.state = replace(state, revision=self.state.revision + 1)

    @rule(gone=st.sets(names, min_size=1, max_size=3))
    def delete(self, gone: set[str]) -> None:
        """Documents that are not there do no harm."""
        for name in gone:
            self.visible.pop(name, None)
        self.state = replace(self.state.without_documents(gone), revision=self.state.revision + 1)

    @rule()
    def begin_merge(self) -> None:
        """As upkeep does: what changes until the end of it must not be lost."""
        parts = choose_merge(self.state) or self.state.parts[-2:]
        if parts:
            self.merging = parts, merge([(part.segment, part.alive) for part in parts])

    @precondition(lambda self: self.merging is not None)
    @rule()
    def end_merge(self) -> None:
        assert self.merging is not None
        parts, merged = self.merging
        self.merging = None
        alive = rows_alive(self.state, parts)
        self.state = self.state.with_merged([part.segment.id for part in parts], merged, alive)

    @rule()
    def save_and_renew(self) -> None:
        """The files take the place of what is in memory."""
        for segment in self.snapshots.save(COLLECTION, self.state):
            self.state = self.state.with_renewed(segment)

    @rule()
    def save_and_open(self) -> None:
        self.snapshots.save(COLLECTION, self.state)
        opened = self.snapshots.open(replace(COLLECTION, revision=self.state.revision))
        assert opened is not None
        assert opened.revision == self.state.revision
        self.state = opened
        self.merging = None

    @rule()
    def read(self) -> None:
        found = find(COLLECTION, self.state)
        self.readers.append((found, answer_of(found)))

    @invariant()
    def is_searched_like_one_made_from_nothing(self) -> None:
        expected = State.empty()
        expected = expected.with_segment(segment_of(COLLECTION, self.visible, expected.vocabulary))
        assert_same(COLLECTION, self.state, expected)

    @invariant()
    def parts_are_numbered_without_gaps(self) -> None:
        base = 0
        for part in self.state.parts:
            assert part.base == base
            assert part.alive_count == (
                len(part.segment) if part.alive is None else np.count_nonzero(part.alive)
            )
            assert part.alive_count > 0
            base += len(part.segment)

    @invariant()
    def readers_still_have_what_they_found(self) -> None:
        for found, answer in self.readers:
            assert_same_answer(answer_of(found), answer)


TestStateMachine = StateMachine.TestCase
TestStateMachine.settings = settings(
    max_examples=8, stateful_step_count=14, deadline=None, derandomize=True, print_blob=False
)


def test_state_empty_has_nothing() -> None:
    state = State.empty(7)
    assert (state.revision, state.alive_count, state.parts, state.dense_method) == (7, 0, (), "exact")


def test_state_without_documents_keeps_the_one_before() -> None:
    visible = {name: (document(name), 1) for name in "ab"}
    state = State.empty()
    before = state.with_segment(segment_of(COLLECTION, visible, state.vocabulary))
    after = before.without_documents({"a"})
    assert (before.alive_count, after.alive_count) == (6, 3)
    assert before.parts[0].alive is None
    assert before.statistics.row_count == 6
    assert after.without_documents({"a"}).statistics.row_count == 3
    assert before.without_documents(()) is before


def test_state_without_the_last_passage_of_a_segment_has_no_part_of_it() -> None:
    state = State.empty()
    for name in "abc":
        state = state.with_segment(segment_of(COLLECTION, {name: (document(name), 1)}, state.vocabulary))
    found = find(COLLECTION, state)
    state = state.without_documents({"b"})
    assert [part.base for part in state.parts] == [0, 3]
    assert {chunk.document_id for chunk in now(found.chunks(found.candidates.positions))} == set("abc")
    found = find(COLLECTION, state)
    assert {chunk.document_id for chunk in now(found.chunks(found.candidates.positions))} == set("ac")


def test_state_size_counts_segments_masks_terms_and_statistics() -> None:
    state = State.empty()
    state = state.with_segment(segment_of(COLLECTION, {"a": (document("a"), 1)}, state.vocabulary))
    rest = state.statistics.nbytes + state.vocabulary.nbytes
    assert state.nbytes == state.parts[0].segment.nbytes + rest
    two = state.with_segment(
        segment_of(COLLECTION, {name: (document(name), 1) for name in "bc"}, state.vocabulary)
    )
    less = two.without_documents({"b"})
    assert less.nbytes == two.nbytes + 6  # a mask of six rows


@pytest.mark.parametrize("position", [0, 2, 3, 5])
def test_state_part_of_a_position_is_the_one_whose_rows_include_it(position: int) -> None:
    state = State.empty()
    for name in "ab":
        state = state.with_segment(segment_of(COLLECTION, {name: (document(name), 1)}, state.vocabulary))
    assert state.part_of(position) is state.parts[position // 3]
