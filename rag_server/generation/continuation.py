"""What a question continues: the messages that a generator is told, and the question to search with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from rag_server.domain.conversation import HistoryMessage, Role, Summary, TurnInfo
from rag_server.domain.generation import GenerationRequest
from rag_server.domain.time_limit import TimeLimit
from rag_server.generation.filters.screen import Screen
from rag_server.generation.history import HistoryWindow
from rag_server.generation.rewriter import QuestionRewriter, Rewritten
from rag_server.generation.turn import HeldTurn
from rag_server.text.language import detect_language
from rag_server.timing import Stopwatch


class Continuation:
    """Prepares questions that continue others."""

    def __init__(
        self,
        window: HistoryWindow,
        rewriter: QuestionRewriter,
        screen: Screen | None = None,
        *,
        has_summaries: bool = False,
    ) -> None:
        """`has_summaries`: whether something may stand for stored messages that are told no more."""
        self._window = window
        self._rewriter = rewriter
        self._screen = screen or Screen()
        self._has_summaries = has_summaries

    @property
    def max_messages(self) -> int:
        """The greatest number of messages that are told: older ones need not be read."""
        return self._window.budget.max_messages

    async def prepare(
        self,
        request: GenerationRequest,
        history: Sequence[HistoryMessage],
        watch: Stopwatch,
        limit: TimeLimit | None,
        turn: HeldTurn | None = None,
    ) -> tuple[GenerationRequest, TurnInfo]:
        """Cut the history to what the generator gets, and make the question one to search with.

        `turn`: that of a stored conversation.
        """
        with watch.stage("history"):
            kept = await self._window.fit(history)
            summary = None if turn is None else await self._summary(turn, kept)
            request = replace(request, summary=summary)
        question = request.question
        with watch.stage("rewrite"):
            language = await asyncio.to_thread(_language_of, question, kept)
            # words that were taken over must not decide on it
            request = replace(request, language=request.language or language)
            rewritten = Rewritten(question)
            if kept or summary:
                rewritten = await self._rewriter.rewrite(request, kept, language, limit)
            search = rewritten.question
        prepared = replace(
            request,
            retrieval=replace(request.retrieval, query=search),
            history=kept,
            asked=question,
        ).prepared(rewritten.preparation)
        info = TurnInfo(
            history_message_count=len(kept),
            history_left_out_count=len(history) - len(kept),
            search_question=search if search != question else "",
            summarised_message_count=summary.message_count if summary else 0,
        )
        return prepared, info

    async def _summary(self, turn: HeldTurn, kept: Sequence[HistoryMessage]) -> Summary | None:
        """Return what stands for the messages of a conversation before those that are told."""
        lease = turn.lease
        if not self._has_summaries or lease.message_count == len(kept):
            return None
        summary = await turn.summary(kept[0].sequence if kept else lease.question_sequence)
        if summary is None:
            return None
        # like a message, it may be older than the filters
        (said,) = await self._screen.history([HistoryMessage(Role.ASSISTANT, summary.text)])
        return replace(summary, text=said.text)


def in_quotes(info: TurnInfo | None) -> TurnInfo | None:
    """Return what an answer in quotes takes into account: no summary, whose messages count as left out."""
    if info is None or not info.summarised_message_count:
        return info
    return replace(
        info,
        history_left_out_count=info.history_left_out_count + info.summarised_message_count,
        summarised_message_count=0,
    )


def _language_of(question: str, history: Sequence[HistoryMessage]) -> str:
    """Return the language of the question; where it has none to be told by, that of the one before."""
    earlier = (message.text for message in reversed(history) if message.role is Role.USER)
    for text in (question, *earlier):
        language = detect_language(text)
        if language:
            return language
    return ""
