from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.backends.protocols import GeneratorModel
from rag_server.errors import InvalidArgument
from rag_server.generation.budget import HISTORY_SHARE, MESSAGE_TOKENS, SOURCE_TOKENS, Room, fit, room_of

MODEL = GeneratorModel("small", "local", 1000)


def test_room_is_the_window_less_answer_instructions_and_question() -> None:
    assert room_of(MODEL, 300, 200, 50) == 500
    assert room_of(MODEL, 800, 200, 50) == 0


@pytest.mark.parametrize(
    ("max_tokens", "fixed", "question", "field"),
    [(900, 200, 50, "generation.max_answer_tokens"), (100, 1500, 1400, "question")],
)
def test_what_does_not_fit_is_named(max_tokens: int, fixed: int, question: int, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        room_of(MODEL, max_tokens, fixed, question)
    assert caught.value.violations[0].field == field


def test_instructions_that_fill_the_window_are_named_instead_of_an_answer_of_no_tokens() -> None:
    with pytest.raises(InvalidArgument) as caught:
        room_of(MODEL, 100, 1050, 50, instructions_field="generation.output")
    assert caught.value.reason == "QUESTION_EXCEEDS_WINDOW"
    assert caught.value.violations[0].field == "generation.output"
    assert "1000 tokens" in caught.value.violations[0].description


def test_sources_are_left_out_from_the_lowest_rank() -> None:
    costs = [100, 300, 50]
    assert fit(100 + SOURCE_TOKENS, [], costs) == Room(0, 1)
    assert fit(450 + 3 * SOURCE_TOKENS, [], costs) == Room(0, 3)
    assert fit(200, [], costs) == Room(0, 1), "a smaller one of a lower rank does not take its place"


def test_history_loses_its_oldest_and_has_a_third_at_most() -> None:
    assert fit(300, [500, 40, 40], []) == Room(2, 0)
    assert fit(300, [], [280]) == Room(0, 1)


def test_history_leaves_room_for_the_best_source() -> None:
    assert fit(300, [42, 42], [80]) == Room(2, 1)
    assert fit(300, [42, 42], [220]) == Room(1, 1)
    assert fit(300, [42, 42], [284]) == Room(0, 1)
    assert fit(300, [42, 42], [300]) == Room(2, 0), "it has none whatever is left out"


def test_summary_is_in_after_all_messages_and_when_it_leaves_room_for_a_source() -> None:
    assert fit(300, [40], [50], 50) == Room(1, 1, has_summary=True)
    assert fit(300, [40], [], 50) == Room(1, 0, has_summary=True)
    assert fit(300, [40], [50], 53) == Room(1, 1), "both together have a third"
    assert fit(300, [500, 40], [50], 1) == Room(1, 1), "a message was left out before"
    assert fit(300, [], [230], 60) == Room(0, 1), "the source has no room beside it"
    assert fit(300, [40], [50], 0) == Room(1, 1), "there is none"


def test_room_becomes_smaller_by_the_summary_then_by_sources_then_by_messages_then_by_the_best_source() -> (
    None
):
    room, sizes = Room(1, 2, has_summary=True), []
    while not room.is_empty:
        sizes.append(room)
        room = room.smaller()
    assert sizes == [Room(1, 2, has_summary=True), Room(1, 2), Room(1, 1), Room(0, 1)]
    assert room == Room(0, 0)
    assert Room(2, 0).smaller() == Room(1, 0)


@given(
    st.integers(0, 5000),
    st.lists(st.integers(0, 900), max_size=20),
    st.lists(st.integers(0, 900), max_size=20),
    st.integers(0, 900),
)
def test_what_is_in_always_fits(room: int, history: list[int], sources: list[int], summary: int) -> None:
    found = fit(room, history, sources, summary)
    told = sum(each + MESSAGE_TOKENS for each in history[len(history) - found.messages :])
    told += summary * found.has_summary
    assert found.sources or not fit(room, history, sources).sources
    assert told <= room * HISTORY_SHARE
    assert told + sum(each + SOURCE_TOKENS for each in sources[: found.sources]) <= room
