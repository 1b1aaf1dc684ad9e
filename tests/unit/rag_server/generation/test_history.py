from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.conversation import HistoryMessage, Role
from rag_server.generation.history import HistoryBudget, HistoryWindow


def count(text: str) -> int:
    return len(text.split())


def history(*texts: str) -> list[HistoryMessage]:
    """Return messages, by turns of the user and the assistant, the last one the assistant's."""
    roles = [Role.ASSISTANT, Role.USER]
    size = len(texts)
    return [HistoryMessage(roles[(size - 1 - index) % 2], text) for index, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("max_messages", "max_tokens", "kept"),
    [
        (9, 99, ["a", "b b", "c", "d d"]),
        (9, 6, ["a", "b b", "c", "d d"]),
        (9, 5, ["c", "d d"]),  # `b b` would fit, but not its question
        (9, 3, ["c", "d d"]),
        (9, 2, []),
        (3, 99, ["c", "d d"]),
        (0, 99, []),
        (9, 0, []),
    ],
)
async def test_window_keeps_the_newest_that_fit_from_a_question_on(
    max_messages: int, max_tokens: int, kept: list[str]
) -> None:
    window = HistoryWindow(count, HistoryBudget(max_messages, max_tokens))
    assert [each.text for each in await window.fit(history("a", "b b", "c", "d d"))] == kept


async def test_window_keeps_a_history_that_begins_with_an_answer_when_all_of_it_fits() -> None:
    window = HistoryWindow(count, HistoryBudget(9, 99))
    greeting = history("Hello!", "Who?", "I.")
    assert list(await window.fit(greeting)) == greeting


async def test_window_counts_no_more_messages_than_it_may_keep() -> None:
    counted: list[str] = []

    def noting(text: str) -> int:
        counted.append(text)
        return 1

    await HistoryWindow(noting, HistoryBudget(2, 99)).fit(history(*"abcdef"))
    assert counted == ["f", "e"]


@given(st.lists(st.tuples(st.sampled_from(Role), st.text("ab ", max_size=9)), max_size=9), st.integers(0, 12))
async def test_window_never_exceeds_its_budget(
    given_messages: list[tuple[Role, str]], max_tokens: int
) -> None:
    messages = [HistoryMessage(role, text) for role, text in given_messages]
    kept = list(await HistoryWindow(count, HistoryBudget(5, max_tokens)).fit(messages))
    assert sum(count(each.text) for each in kept) <= max_tokens
    assert len(kept) <= 5
    assert kept == messages[len(messages) - len(kept) :]
