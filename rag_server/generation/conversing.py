"""From a question of a conversation to a recorded answer: history, rewrite, answer, record.

A question that continues nothing is answered as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from rag_server.assistants.settling import Assistants
from rag_server.domain.conversation import (
    AnsweredBefore,
    ConversationRef,
    HistoryMessage,
    Role,
    Summary,
    TurnInfo,
)
from rag_server.domain.generation import Finished, GenerationEvent, GenerationRequest, Repeated, Started
from rag_server.domain.policy import PolicyReport
from rag_server.domain.retrieval import Timings
from rag_server.domain.time_limit import TimeLimit
from rag_server.generation.filters.refusal import refused
from rag_server.generation.filters.screen import Screen
from rag_server.generation.history import HistoryWindow
from rag_server.generation.naming import Exchange, TitleWriter
from rag_server.generation.pipeline import Answering
from rag_server.generation.record import AnswerEncoder, Draft
from rag_server.generation.rewriter import QuestionRewriter, Rewritten
from rag_server.generation.summarising import Continued, SummaryWriter
from rag_server.generation.turn import HeldTurn, Turns
from rag_server.text.language import detect_language
from rag_server.timing import TOTAL, Stopwatch

_BEFORE: Final[tuple[str, ...]] = ("history", "assistant", "rewrite")
"""Stages that come before those of an answer. `history` is read before, and cut after, the assistant."""

AnswerEvents = AsyncGenerator[GenerationEvent | Repeated, None]


class Conversing:
    """Answers questions, those of conversations with what was said before."""

    def __init__(
        self,
        answering: Answering,
        turns: Turns,
        window: HistoryWindow,
        rewriter: QuestionRewriter,
        encode: AnswerEncoder,
        assistants: Assistants,
        titles: TitleWriter | None = None,
        summaries: SummaryWriter | None = None,
        screen: Screen | None = None,
    ) -> None:
        """`titles` names conversations after their first answer; None: their first question's words do.

        `summaries` puts in short what no longer fits the window; None: it is left out.
        """
        self._answering = answering
        self._turns = turns
        self._window = window
        self._rewriter = rewriter
        self._encode = encode
        self._assistants = assistants
        self._titles = titles
        self._summaries = summaries
        self._screen = screen or Screen()

    async def answer(
        self, tenant_id: str, request: GenerationRequest, *, limit: TimeLimit | None = None
    ) -> AnswerEvents:
        """Yield what `Answering` yields; or one `Repeated`, for a call that was answered before.

        `Finished` also means that the answer is recorded, where the question is one of a stored conversation.
        Of a question that a filter refuses nothing is stored.
        """
        request, policy = await self._screen.question(request)
        events: AnswerEvents
        if policy.refused_by:
            events = refused(request, policy)
        elif request.conversation is not None:
            events = self._in_turn(tenant_id, request, request.conversation, policy, limit)
        elif request.history:
            events = self._with_history(tenant_id, request, limit)
        elif request.assistant is not None:
            events = self._with_assistant(tenant_id, request, limit)
        else:
            events = self._answering.answer(tenant_id, request, limit=limit)
        async with aclosing(events):
            async for event in events:
                if policy.redactions and isinstance(event, Finished) and not policy.refused_by:
                    yield replace(event, policy=policy.joined(event.policy))
                else:
                    yield event

    async def _in_turn(
        self,
        tenant_id: str,
        request: GenerationRequest,
        ref: ConversationRef,
        policy: PolicyReport,
        limit: TimeLimit | None,
    ) -> AnswerEvents:
        watch = Stopwatch()
        language = await asyncio.to_thread(detect_language, request.question)
        async with self._turns.take(tenant_id, ref, request.question, language) as turn:
            if isinstance(turn, AnsweredBefore):
                yield Repeated(turn, watch.timings())
                return
            with watch.stage("history"):
                stored = await self._screen.history(await turn.history(self._window.budget.max_messages))
            request = await self._settle(tenant_id, request, stored, watch)
            prepared, info = await self._prepare(request, stored, watch, limit, turn)
            lease = turn.lease
            info = replace(
                info,
                conversation_id=lease.conversation_id,
                question_id=lease.question_id,
                answer_id=lease.answer_id,
                history_left_out_count=lease.message_count
                - info.history_message_count
                - info.summarised_message_count,
            )
            draft = Draft(lease.question_id, info.search_question, policy)
            async with aclosing(self._answering.answer(tenant_id, prepared, limit=limit)) as events:
                async for event in events:
                    turn.check()
                    draft.add(event)
                    if isinstance(event, Finished):
                        await self._record(turn, draft, watch)
                        if self._titles is not None and not stored:
                            self._titles.offer(_exchange(turn, prepared, draft))
                        if self._summaries is not None:
                            self._summaries.offer(
                                Continued(tenant_id, lease.conversation_id, prepared.language)
                            )
                    yield _told(event, info, watch)

    async def _with_history(
        self, tenant_id: str, request: GenerationRequest, limit: TimeLimit | None
    ) -> AnswerEvents:
        watch = Stopwatch()
        request = await self._settle(tenant_id, request, request.history, watch)
        prepared, info = await self._prepare(request, request.history, watch, limit)
        async with aclosing(self._answering.answer(tenant_id, prepared, limit=limit)) as events:
            async for event in events:
                yield _told(event, info, watch)

    async def _with_assistant(
        self, tenant_id: str, request: GenerationRequest, limit: TimeLimit | None
    ) -> AnswerEvents:
        watch = Stopwatch()
        settled = await self._settle(tenant_id, request, (), watch)
        async with aclosing(self._answering.answer(tenant_id, settled, limit=limit)) as events:
            async for event in events:
                yield _told(event, None, watch)

    async def _settle(
        self,
        tenant_id: str,
        request: GenerationRequest,
        history: Sequence[HistoryMessage],
        watch: Stopwatch,
    ) -> GenerationRequest:
        """Give the request the settings of the assistant that it asks for."""
        if request.assistant is None:
            return request
        with watch.stage("assistant"):
            return await self._assistants.settle(tenant_id, request, history)

    async def _prepare(
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
        if self._summaries is None or lease.message_count == len(kept):
            return None
        summary = await turn.summary(kept[0].sequence if kept else lease.question_sequence)
        if summary is None:
            return None
        # like a message, it may be older than the filters
        (said,) = await self._screen.history([HistoryMessage(Role.ASSISTANT, summary.text)])
        return replace(summary, text=said.text)

    async def _record(self, turn: HeldTurn, draft: Draft, watch: Stopwatch) -> None:
        with watch.stage("record"):
            answer = await asyncio.to_thread(self._encode, draft)
            await turn.record(draft.text, answer)


def _exchange(turn: HeldTurn, request: GenerationRequest, draft: Draft) -> Exchange:
    lease = turn.lease
    return Exchange(lease.tenant_id, lease.conversation_id, request.question, draft.text, request.language)


def _language_of(question: str, history: Sequence[HistoryMessage]) -> str:
    """Return the language of the question; where it has none to be told by, that of the one before."""
    earlier = (message.text for message in reversed(history) if message.role is Role.USER)
    for text in (question, *earlier):
        language = detect_language(text)
        if language:
            return language
    return ""


def _told(event: GenerationEvent, info: TurnInfo | None, watch: Stopwatch) -> GenerationEvent:
    """Return the event as the caller is told it."""
    if isinstance(event, Started):
        return replace(event, turn=_taken_in(info) if event.prompt is None else info)
    if isinstance(event, Finished):
        return replace(event, timings_us=_joined(watch.timings(), event.timings_us))
    return event


def _taken_in(info: TurnInfo | None) -> TurnInfo | None:
    """Return what an answer in quotes takes into account: no summary."""
    if info is None or not info.summarised_message_count:
        return info
    return replace(
        info,
        history_left_out_count=info.history_left_out_count + info.summarised_message_count,
        summarised_message_count=0,
    )


def _joined(around: Timings, inner: Timings) -> Timings:
    """Return all stages in the order in which they began, and the total of what is around."""
    before = {stage: around[stage] for stage in _BEFORE if stage in around}
    within = {stage: duration for stage, duration in inner.items() if stage != TOTAL}
    return {**before, **within, **around}
