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


def test_sources_are_left_out_from_the_lowest_rank() -> None:
    costs = [100, 300, 50]
    assert fit(100 + SOURCE_TOKENS, [], costs) == Room(0, 1)
    assert fit(450 + 3 * SOURCE_TOKENS, [], costs) == Room(0, 3)
    assert fit(200, [], costs) == Room(0, 1), "a smaller one of a lower rank does not take its place"


def test_history_loses_its_oldest_and_has_a_third_at_most() -> None:
    assert fit(300, [500, 40, 40], []) == Room(2, 0)
    assert fit(300, [], [280]) == Room(0, 1)


@given(
    st.integers(0, 5000),
    st.lists(st.integers(0, 900), max_size=20),
    st.lists(st.integers(0, 900), max_size=20),
)
def test_what_is_in_always_fits(room: int, history: list[int], sources: list[int]) -> None:
    found = fit(room, history, sources)
    told = sum(each + MESSAGE_TOKENS for each in history[len(history) - found.messages :])
    assert told <= room * HISTORY_SHARE
    assert told + sum(each + SOURCE_TOKENS for each in sources[: found.sources]) <= room
