"""Judges an answer by its sources once it is written, and withholds one that they do not bear out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from rag_server.domain.document import Chunk
from rag_server.domain.generation import Cited, Delta, FinishReason, GenerationRequest, Words
from rag_server.domain.grounding import Grounding, Passage
from rag_server.domain.policy import PolicyReport
from rag_server.domain.retrieval import ScoredChunk
from rag_server.generation.asking import Asked
from rag_server.generation.compose import Composed
from rag_server.generation.grounding.judge import Judge
from rag_server.text.language import detect_language
from rag_server.text.phrases import low_grounding

_JUDGED = frozenset({FinishReason.COMPLETE, FinishReason.MAX_TOKENS, FinishReason.POLICY})
"""Reasons of answers that say something; the others abstain."""


@dataclass(frozen=True, slots=True)
class Written:
    """The model has said all; what follows is the judgement, and what waited for it."""


Answer = AsyncGenerator[Asked | Words | PolicyReport | Written | Grounding, None]


class Grounder:
    """Judges answers as they are asked for."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def ground(
        self, events: AsyncGenerator[Asked | Words | PolicyReport, None], request: GenerationRequest
    ) -> Answer:
        """Yield the events of an answer, and its grounding before the reason, where `request` asks for it.

        With a least score deltas and citations come after the judgement, or a fixed phrase in their place.
        An answer that a filter refuses is not judged.
        Errors of the embedder, and of the entailment model, pass through: an answer that could not be judged
        is not finished.
        """
        options = request.grounding
        if options is None:
            async with aclosing(events) as plain:
                async for event in plain:
                    yield event
            return
        composed: Composed | None = None
        is_refused = False
        pieces: list[str] = []
        held: list[Delta | Cited] = []
        async with aclosing(events) as answer:
            async for event in answer:
                if isinstance(event, Asked):
                    composed = event.composed
                if isinstance(event, PolicyReport) and event.refused_by:
                    is_refused = True
                if isinstance(event, Delta):
                    pieces.append(event.text)
                if isinstance(event, Delta | Cited) and options.min_score is not None:
                    held.append(event)
                elif isinstance(event, FinishReason) and is_refused:
                    for waiting in held:
                        yield waiting
                    yield event
                elif isinstance(event, FinishReason) and composed is not None:
                    yield Written()
                    ending = await self._ending(event, "".join(pieces), held, composed, request)
                    for each in ending:
                        yield each
                else:
                    yield event

    async def _ending(
        self,
        reason: FinishReason,
        text: str,
        held: Sequence[Delta | Cited],
        composed: Composed,
        request: GenerationRequest,
    ) -> Iterable[Words | Grounding]:
        """Return what follows the words that have been told."""
        if reason not in _JUDGED:
            return [*held, reason]
        passages = passages_of(composed.prompt.sources, composed.offered)
        grounding = await self._judge.judge(text, passages, priority=request.priority)
        least = request.grounding.min_score if request.grounding is not None else None
        if least is None or grounding.score >= least:
            return [*held, grounding, reason]
        phrase = low_grounding(request.language or detect_language(request.question))
        return [Delta(phrase), grounding, FinishReason.LOW_GROUNDING]


def passages_of(sources: Sequence[ScoredChunk], offered: Iterable[int]) -> list[Passage]:
    """Return the passages of the sources at these indices, each with its neighbours."""
    return [
        Passage(index, chunk.text, title_of(chunk), chunk)
        for index in sorted(offered)
        for chunk in (
            *sources[index].context_before,
            sources[index].chunk,
            *sources[index].context_after,
        )
    ]


def title_of(chunk: Chunk) -> str:
    """Return what stands above a chunk: the title of its document, and headings."""
    return " ".join((chunk.title, *chunk.heading_path)).strip()
