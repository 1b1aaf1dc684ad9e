"""Puts questions, histories, sources and answers through the filters of their part."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, TypeVar

from rag_server.domain.conversation import HistoryMessage
from rag_server.domain.generation import (
    Cited,
    Delta,
    FinishReason,
    GenerationRequest,
    Usage,
    Words,
)
from rag_server.domain.policy import Part, PolicyReport, Redaction
from rag_server.domain.retrieval import ScoredChunk
from rag_server.generation.filters.answer import FilteredAnswer
from rag_server.generation.filters.counts import FilterCounts
from rag_server.generation.filters.filter import Filter
from rag_server.generation.filters.masking import masked
from rag_server.generation.filters.stream import FilteredText
from rag_server.text.language import detect_language
from rag_server.text.phrases import answer_withheld

T = TypeVar("T")

CountTokens = Callable[[str], Awaitable[Usage]]
"""Returns what an answer has cost that ends here, given what of it came."""

_LONG: Final = 2000
"""Code points of a piece, from which on it is filtered in a thread."""


class Screen:
    """The filters of a server, by part. Without any, everything passes as it is."""

    def __init__(
        self, filters: Mapping[Part, Sequence[Filter]] | None = None, counts: FilterCounts | None = None
    ) -> None:
        self._filters = dict(filters or {})
        self._counts = counts or FilterCounts()

    def filters_of(self, part: Part) -> Sequence[Filter]:
        """Return the filters of one part."""
        return self._filters.get(part, ())

    async def question(self, request: GenerationRequest) -> tuple[GenerationRequest, PolicyReport]:
        """Return a request with its question and its own history filtered, and what was done.

        Whatever is stored, searched with or sent to a model is what this returns.
        """
        if not (self.filters_of(Part.QUESTION) or self.filters_of(Part.HISTORY)):
            return request, PolicyReport()
        screened, report = await asyncio.to_thread(self._screened, request)
        self._counts.add(report)
        return screened, report

    async def history(self, messages: Sequence[HistoryMessage]) -> Sequence[HistoryMessage]:
        """Return stored messages, redacted even by what refuses: some are older than the filters."""
        filters = self.filters_of(Part.HISTORY)
        if not filters or not messages:
            return messages
        return await asyncio.to_thread(
            lambda: [replace(each, text=_redacted(each.text, filters)) for each in messages]
        )

    async def sources(self, sources: tuple[ScoredChunk, ...]) -> tuple[tuple[ScoredChunk, ...], PolicyReport]:
        """Return the sources with what is found in them masked, sign by sign: every span stays right."""
        filters = self.filters_of(Part.SOURCES)
        if not filters or not sources:
            return sources, PolicyReport()
        made, redactions = await asyncio.to_thread(masked, sources, filters)
        report = PolicyReport(_told(redactions, Part.SOURCES))
        self._counts.add(report)
        return made, report

    async def answer(
        self,
        words: AsyncGenerator[Words | T, None],
        request: GenerationRequest,
        cost_of: CountTokens,
        accepts: Callable[[str], bool] | None = None,
    ) -> AsyncGenerator[Words | T | PolicyReport, None]:
        """Yield an answer filtered, and what was done before its reason.

        Citations keep pointing at what they cite. An answer that is refused ends there, with a sentence that
        says so, and its writer is stopped. Other events pass as they are.

        Args:
            words: The answer.
            request: What it answers.
            cost_of: Asked for the usage of an answer that is stopped.
            accepts: For an answer of a form: whether a text has it. The answer is then filtered as a whole,
                and refused if it would not have its form any longer.
        """
        filters = self.filters_of(Part.ANSWER)
        async with aclosing(words) as events:
            if not filters:
                async for event in events:
                    yield event
                return
            answer = FilteredAnswer(filters, is_whole=accepts is not None)
            async for event in events:
                if not isinstance(event, Words):
                    yield event
                    continue
                is_long = isinstance(event, Delta) and len(event.text) > _LONG
                if is_long or accepts is not None:
                    outs = await asyncio.to_thread(answer.take, event)
                else:
                    outs = answer.take(event)
                if accepts is not None and outs:
                    outs = await asyncio.to_thread(answer.checked, outs, accepts)
                for out in outs:
                    yield out
                if answer.refused_by:
                    await events.aclose()  # at once, however slow the caller reads
                    language = request.language or detect_language(request.question)
                    phrase = answer_withheld(language, rest=answer.has_shown)
                    yield Delta(f"\n\n{phrase}" if answer.has_shown else phrase)
                    yield await cost_of(answer.text)
                    yield self._reported(answer)
                    yield FinishReason.POLICY
                    return
                if isinstance(event, FinishReason):
                    report = self._reported(answer)
                    if report:
                        yield report
                if not isinstance(event, Delta | Cited):
                    yield event

    def _screened(self, request: GenerationRequest) -> tuple[GenerationRequest, PolicyReport]:
        text, redactions, refused_by = _filtered(request.question, self.filters_of(Part.QUESTION))
        report = PolicyReport(
            _told(redactions, Part.QUESTION), refused_by, Part.QUESTION if refused_by else None
        )
        if text != request.question:
            request = replace(
                request,
                retrieval=replace(request.retrieval, query=text),
                asked=text if request.asked else "",
            )
        messages, total, refusing = [], Counter[tuple[str, str]](), ""
        for message in request.history:
            text, redactions, refused_by = _filtered(message.text, self.filters_of(Part.HISTORY))
            messages.append(replace(message, text=text))
            total += redactions
            refusing = refusing or refused_by
        others = PolicyReport(_told(total, Part.HISTORY), refusing, Part.HISTORY if refusing else None)
        return replace(request, history=tuple(messages)), report.joined(others)

    def _reported(self, answer: FilteredAnswer) -> PolicyReport:
        part = Part.ANSWER if answer.refused_by else None
        report = PolicyReport(_told(answer.redactions, Part.ANSWER), answer.refused_by, part)
        self._counts.add(report)
        return report


def _redacted(text: str, filters: Sequence[Filter]) -> str:
    """Return a text in which everything that is found is replaced."""
    whole = FilteredText(filters, may_refuse=False)
    whole.end(text)
    return whole.release(whole.decided)


def _filtered(text: str, filters: Sequence[Filter]) -> tuple[str, Counter[tuple[str, str]], str]:
    """Return a text filtered, what was replaced, and the filter that refuses it."""
    whole = FilteredText(filters)
    whole.end(text)
    return whole.release(whole.decided), whole.redactions, whole.refused_by


def _told(redactions: Mapping[tuple[str, str], int], part: Part) -> tuple[Redaction, ...]:
    return tuple(
        Redaction(part, filter_name, kind, count) for (filter_name, kind), count in redactions.items()
    )
