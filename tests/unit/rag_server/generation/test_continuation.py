from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rag_server.app_filters import create_screen
from rag_server.config import FilterSettings
from rag_server.domain.conversation import HistoryMessage, Role, Summary, TurnInfo
from rag_server.domain.generation import GenerationRequest
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.generation.continuation import Continuation, in_quotes
from rag_server.generation.filters.counts import FilterCounts
from rag_server.generation.history import HistoryBudget, HistoryWindow
from rag_server.generation.rewriter import Rewritten
from rag_server.timing import Stopwatch

SPANISH = "¿Cuántos días de vacaciones tienen los empleados de la oficina?"
SAID = (
    HistoryMessage(Role.USER, SPANISH, 1),
    HistoryMessage(Role.ASSISTANT, "There are fifteen of them in every year.", 2),
)


class Rewriter:
    """A `QuestionRewriter` that keeps what it was given."""

    def __init__(self) -> None:
        self.languages: list[str] = []

    async def rewrite(
        self, request: GenerationRequest, history: Sequence[HistoryMessage], language: str, limit: Any
    ) -> Rewritten:
        self.languages.append(language)
        return Rewritten(f"{request.question} vacaciones")


class HeldTurn:
    """A turn of a stored conversation of `count` messages, the oldest of which a summary stands for."""

    def __init__(self, count: int) -> None:
        self.lease = SimpleNamespace(message_count=count, question_sequence=count + 1)
        self.asked_before: list[int] = []

    async def summary(self, before: int) -> Summary | None:
        self.asked_before.append(before)
        return Summary("Write to ana@example.com", 4)


def continuation(rewriter: Rewriter, max_tokens: int = 99, **options: Any) -> Continuation:
    window = HistoryWindow(lambda text: len(text.split()), HistoryBudget(50, max_tokens))
    return Continuation(window, rewriter, **options)


def asking(question: str) -> GenerationRequest:
    return GenerationRequest(RetrievalRequest(("books",), question))


def _info(told: int, left_out: int, search_question: str) -> TurnInfo:
    return TurnInfo(
        history_message_count=told, history_left_out_count=left_out, search_question=search_question
    )


async def test_question_that_is_too_short_has_the_language_of_the_last_one() -> None:
    rewriter = Rewriter()
    prepared, info = await continuation(rewriter).prepare(asking("1936?"), SAID, Stopwatch(), None)
    assert (prepared.language, rewriter.languages) == ("es", ["es"])
    assert (prepared.retrieval.query, prepared.question) == ("1936? vacaciones", "1936?")
    assert info == _info(2, 0, "1936? vacaciones")


async def test_question_whose_history_has_no_room_is_searched_with_as_it_is() -> None:
    rewriter = Rewriter()
    prepared, info = await continuation(rewriter, max_tokens=1).prepare(
        asking("And in Chile?"), SAID, Stopwatch(), None
    )
    assert rewriter.languages == []
    assert prepared.history == ()
    assert info == _info(0, 2, "")


@pytest.mark.parametrize(("has_summaries", "count"), [(False, 6), (True, 2)])
async def test_summary_is_asked_for_only_where_there_may_be_one(has_summaries: bool, count: int) -> None:
    turn: Any = HeldTurn(count)
    prepared, _ = await continuation(Rewriter(), has_summaries=has_summaries).prepare(
        asking("And in Chile?"), SAID, Stopwatch(), None, turn
    )
    assert prepared.summary is None
    assert turn.asked_before == []


async def test_summary_goes_through_the_filters_and_counts_what_it_stands_for() -> None:
    turn: Any = HeldTurn(6)
    screen = create_screen(FilterSettings(pii_question="redact"), FilterCounts())
    prepared, info = await continuation(Rewriter(), screen=screen, has_summaries=True).prepare(
        asking("And in Chile?"), SAID, Stopwatch(), None, turn
    )
    assert prepared.summary is not None
    assert prepared.summary.text == "Write to [email]"
    assert turn.asked_before == [1]
    assert info.summarised_message_count == 4


def test_in_quotes_the_messages_of_a_summary_are_left_out() -> None:
    info = replace(_info(2, 1, "q"), summarised_message_count=4)
    assert in_quotes(info) == _info(2, 5, "q")
    assert in_quotes(replace(info, summarised_message_count=0)) == _info(2, 1, "q")
    assert in_quotes(None) is None
