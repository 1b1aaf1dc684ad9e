from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rag_server.backends.protocols import Embeddings
from rag_server.domain.document import Span
from rag_server.domain.generation import (
    Citation,
    Cited,
    Delta,
    FinishReason,
    GenerationRequest,
    Prompt,
    PromptReport,
    Usage,
)
from rag_server.domain.grounding import Grounding, GroundingOptions
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.errors import Unavailable
from rag_server.generation.asking import Asked
from rag_server.generation.compose import Composed
from rag_server.generation.ground import Grounder, Written, passages_of
from rag_server.generation.grounding.judge import Judge
from rag_server.testing.fakes import HashEmbedder
from rag_server.testing.generator_suite import SOURCES

TRUE = "The grey heron waits by the river at dawn."
FALSE = "The grey heron owns 17 castles."
QUOTED = Cited(Citation(0, Span(0, len(TRUE)), Span(0, len(TRUE)), TRUE))
USAGE = Usage(9, 3)
REPORT = PromptReport(9, False, 4096, (), 0, "answer/1/en", None)


def asked(
    options: GroundingOptions | None, question: str = "when does the heron wait?", **report: Any
) -> Asked:
    request = GenerationRequest(RetrievalRequest(("books",), question), grounding=options)
    return Asked("writer", Composed(Prompt(request, SOURCES), replace(REPORT, **report)), is_fallback=False)


async def events_of(who: Asked, *words: Any, waits: asyncio.Event | None = None) -> AsyncGenerator[Any, None]:
    yield who
    for each in words:
        if isinstance(each, FinishReason) and waits is not None:
            await waits.wait()
        yield each


async def grounded(who: Asked, *words: Any, embedder: HashEmbedder | None = None) -> list[Any]:
    grounder = Grounder(Judge(embedder or HashEmbedder()))
    events = grounder.ground(events_of(who, *words), who.composed.prompt.request)
    return [event async for event in events]


async def test_answer_that_is_not_to_be_judged_passes_as_it_is() -> None:
    words = [Delta(FALSE), USAGE, FinishReason.COMPLETE]
    who = asked(None)
    assert await grounded(who, *words) == [who, *words]


async def test_answer_without_a_least_score_is_judged_and_told_whatever_the_score() -> None:
    who = asked(GroundingOptions())
    *told, written, grounding, reason = await grounded(who, Delta(FALSE), USAGE, FinishReason.COMPLETE)
    assert told == [who, Delta(FALSE), USAGE]
    assert (written, reason) == (Written(), FinishReason.COMPLETE)
    assert isinstance(grounding, Grounding)
    assert grounding.score < 0.5
    assert [each.text for each in grounding.sentences[0].missing_facts] == ["17"]


async def test_answer_above_the_least_score_comes_whole_after_its_judgement() -> None:
    who = asked(GroundingOptions(0.9))
    words = [Delta(TRUE[:10]), Delta(TRUE[10:]), QUOTED, USAGE, FinishReason.COMPLETE]
    events = await grounded(who, *words)
    assert events[:3] == [who, USAGE, Written()]
    assert events[3:6] == words[:3]
    assert events[6].score == 1.0
    assert events[7:] == [FinishReason.COMPLETE]


@pytest.mark.parametrize(
    ("question", "phrase"),
    [
        ("when does the heron wait?", "I found an answer, but the documents do not support it"),
        ("¿cuándo espera la garza?", "Encontré una respuesta, pero los documentos no la respaldan"),
    ],
)
async def test_answer_below_the_least_score_is_withheld_with_its_citations(
    question: str, phrase: str
) -> None:
    who = asked(GroundingOptions(0.5), question)
    cited = Cited(Citation(0, Span(0, 9), Span(0, 9), "The grey "))
    events = await grounded(who, Delta(FALSE), cited, USAGE, FinishReason.COMPLETE)
    told, grounding, reason = events[-3:]
    assert events[:-3] == [who, USAGE, Written()]
    assert told.text.startswith(phrase)
    assert grounding.score < 0.5
    assert reason is FinishReason.LOW_GROUNDING
    assert FALSE not in repr(told)


async def test_abstention_is_not_judged() -> None:
    for options in (GroundingOptions(), GroundingOptions(1.0)):
        events = await grounded(asked(options), Delta("Nothing."), USAGE, FinishReason.NO_RELEVANT_CONTENT)
        assert [each.text for each in events if isinstance(each, Delta)] == ["Nothing."]
        assert not any(isinstance(each, Grounding) for each in events)
        assert events[-1] is FinishReason.NO_RELEVANT_CONTENT


async def test_answer_is_judged_by_what_the_model_was_given_alone() -> None:
    bread = "Rye bread needs a long fermentation."
    (seen,) = [
        each
        for each in await grounded(asked(GroundingOptions()), Delta(bread), FinishReason.COMPLETE)
        if isinstance(each, Grounding)
    ]
    (unseen,) = [
        each
        for each in await grounded(
            asked(GroundingOptions(), left_out_sources=(1,)), Delta(bread), FinishReason.COMPLETE
        )
        if isinstance(each, Grounding)
    ]
    assert seen.score == 1.0
    assert unseen.score < 0.5


def test_passages_are_sources_with_their_neighbours() -> None:
    before, after = (replace(SOURCES[1].chunk, id=name) for name in ("before", "after"))
    source = replace(SOURCES[0], context_before=(before,), context_after=(after,))
    passages = passages_of([source, SOURCES[1]], {0})
    assert [each.chunk.id for each in passages if each.chunk] == ["before", source.chunk.id, "after"]
    assert {each.source_index for each in passages} == {0}


async def test_least_score_holds_every_word_back_until_the_end() -> None:
    who, end = asked(GroundingOptions(0.5)), asyncio.Event()
    events = Grounder(Judge(HashEmbedder())).ground(
        events_of(who, Delta(TRUE), QUOTED, FinishReason.COMPLETE, waits=end), who.composed.prompt.request
    )
    assert await anext(events) == who
    following = asyncio.ensure_future(anext(events))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not following.done()
    end.set()
    assert await following == Written()
    await events.aclose()


async def test_judge_that_is_down_breaks_the_answer_instead_of_passing_it() -> None:
    class Down(HashEmbedder):
        async def embed(
            self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE
        ) -> Embeddings:
            raise Unavailable("EMBEDDER_UNAVAILABLE", "down")

    for options in (GroundingOptions(), GroundingOptions(0.5)):
        with pytest.raises(Unavailable):
            await grounded(asked(options), Delta(FALSE), FinishReason.COMPLETE, embedder=Down())


async def test_answer_that_is_closed_early_closes_what_it_reads() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Any, None]:
        try:
            yield who
            while True:
                yield Delta("word ")
        finally:
            closed.set()

    who = asked(GroundingOptions())
    events = Grounder(Judge(HashEmbedder())).ground(endless(), who.composed.prompt.request)
    assert await anext(events) == who
    await events.aclose()
    assert closed.is_set()
