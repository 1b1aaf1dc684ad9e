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
    TurnInfo,
)
from rag_server.domain.generation import Finished, GenerationEvent, GenerationRequest, Repeated, Started
from rag_server.domain.policy import PolicyReport
from rag_server.domain.retrieval import Timings
from rag_server.domain.time_limit import TimeLimit
from rag_server.generation.continuation import Continuation, in_quotes
from rag_server.generation.filters.refusal import refused
from rag_server.generation.filters.screen import Screen
from rag_server.generation.naming import Exchange, TitleWriter
from rag_server.generation.pipeline import Answering
from rag_server.generation.record import AnswerEncoder, Draft
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
        continuation: Continuation,
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
        self._continuation = continuation
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
                stored = await self._screen.history(await turn.history(self._continuation.max_messages))
            request = await self._settle(tenant_id, request, stored, watch)
            prepared, info = await self._continuation.prepare(request, stored, watch, limit, turn)
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
        prepared, info = await self._continuation.prepare(request, request.history, watch, limit)
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

    async def _record(self, turn: HeldTurn, draft: Draft, watch: Stopwatch) -> None:
        with watch.stage("record"):
            answer = await asyncio.to_thread(self._encode, draft)
            await turn.record(draft.text, answer)


def _exchange(turn: HeldTurn, request: GenerationRequest, draft: Draft) -> Exchange:
    lease = turn.lease
    return Exchange(lease.tenant_id, lease.conversation_id, request.question, draft.text, request.language)


def _told(event: GenerationEvent, info: TurnInfo | None, watch: Stopwatch) -> GenerationEvent:
    """Return the event as the caller is told it."""
    if isinstance(event, Started):
        return replace(event, turn=in_quotes(info) if event.prompt is None else info)
    if isinstance(event, Finished):
        return replace(event, timings_us=_joined(watch.timings(), event.timings_us))
    return event


def _joined(around: Timings, inner: Timings) -> Timings:
    """Return all stages in the order in which they began, and the total of what is around."""
    before = {stage: around[stage] for stage in _BEFORE if stage in around}
    within = {stage: duration for stage, duration in inner.items() if stage != TOTAL}
    return {**before, **within, **around}
