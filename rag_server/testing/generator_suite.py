"""What every `Generator` must do. Subclass it and provide the fixture `generator`.

class TestExtractiveGenerator(GeneratorSuite):
    @pytest.fixture
    async def generator(self): ...

Asked `QUESTION`, it answers from `SOURCES` with more than one token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from rag_server.backends.protocols import Generator
from rag_server.domain.document import Chunk, Span
from rag_server.domain.generation import (
    Citation,
    Cited,
    Delta,
    FinishReason,
    GenerationRequest,
    Message,
    Prompt,
    Role,
    Usage,
    Words,
)
from rag_server.domain.retrieval import Leg, LegSignal, RetrievalRequest, ScoredChunk

QUESTION = "When does the grey heron wait by the river?"
TEXTS = (
    "The grey heron waits by the river at dawn. It eats small fish and frogs.",
    "Rye bread needs a long fermentation. The oven must be very hot.",
)


def source(text: str, index: int = 0, **others: str) -> ScoredChunk:
    """Return a passage that was retrieved."""
    chunk = Chunk(
        id=f"c{index}",
        tenant_id="default",
        collection_id="books",
        document_id=f"d{index}",
        document_revision=1,
        ordinal=0,
        text=text,
        span=Span(0, len(text)),
        heading_path=(),
        token_count=len(text.split()),
        page_start=None,
        page_end=None,
        title=others.get("title", ""),
        source_uri=others.get("source_uri", ""),
        media_type="text/plain",
    )
    return ScoredChunk(chunk, 1.0 / (1 + index), {Leg.DENSE: LegSignal(index + 1, 0.8 - index / 2)})


SOURCES = tuple(source(text, index) for index, text in enumerate(TEXTS))


def prompt(*, max_tokens: int = 256) -> Prompt:
    """Return what a generator is given."""
    request = GenerationRequest(RetrievalRequest(("books",), QUESTION), max_tokens=max_tokens)
    told = "\n".join(f'<source id="{number}">{text}</source>' for number, text in enumerate(TEXTS, 1))
    messages = (
        Message(Role.SYSTEM, "Answer from the sources."),
        Message(Role.USER, f"{told}\n{QUESTION}"),
    )
    return Prompt(request, SOURCES, messages)


@dataclass
class Answer:
    """An answer, collected."""

    text: str = ""
    citations: list[Citation] = field(default_factory=list)
    usage: Usage | None = None
    reason: FinishReason | None = None


async def collected(events: AsyncGenerator[Words, None]) -> Answer:
    """Read an answer to its end, and check the order of its events."""
    answer = Answer()
    async for event in events:
        assert answer.reason is None, "nothing follows the reason"
        match event:
            case Delta(text):
                assert text, "no delta is empty"
                assert answer.usage is None, "no text follows the usage"
                answer.text += text
            case Cited(citation):
                assert citation.answer_span.end <= len(answer.text), "a citation follows its text"
                answer.citations.append(citation)
            case Usage():
                assert answer.usage is None, "the usage comes once"
                answer.usage = event
            case FinishReason():
                assert answer.usage is not None, "the reason follows the usage"
                answer.reason = event
    return answer


class GeneratorSuite:
    """The conformance suite."""

    async def test_model_has_a_name_and_a_window_where_it_reads_messages(self, generator: Generator) -> None:
        model = generator.model
        assert model.name
        assert model.window_tokens is None or model.window_tokens > 0

    async def test_answer_has_text_one_usage_and_one_reason_in_this_order(self, generator: Generator) -> None:
        answer = await collected(generator.generate(prompt()))
        assert "dawn" in answer.text
        assert answer.reason is FinishReason.COMPLETE
        assert answer.usage is not None
        assert answer.usage.prompt_token_count > 0
        assert answer.usage.answer_token_count > 0

    async def test_citations_are_of_the_sources_words_where_the_generator_quotes(
        self, generator: Generator
    ) -> None:
        answer = await collected(generator.generate(prompt()))
        if generator.model.window_tokens is not None:
            assert answer.citations == []
            return
        for citation in answer.citations:
            text = SOURCES[citation.source_index].chunk.text
            assert text[citation.source_span.start : citation.source_span.end] == citation.quote
            shown = answer.text[citation.answer_span.start : citation.answer_span.end]
            assert shown == citation.quote
        assert answer.citations

    async def test_answer_beyond_max_tokens_says_that_it_was_cut(self, generator: Generator) -> None:
        answer = await collected(generator.generate(prompt(max_tokens=1)))
        assert answer.reason is FinishReason.MAX_TOKENS
        assert answer.usage is not None
        assert answer.usage.answer_token_count <= 1

    async def test_same_prompt_again_gets_an_answer_again(self, generator: Generator) -> None:
        first = await collected(generator.generate(prompt()))
        assert (await collected(generator.generate(prompt()))).text == first.text

    async def test_answers_side_by_side_do_not_mix(self, generator: Generator) -> None:
        alone = await collected(generator.generate(prompt()))
        together = await asyncio.gather(*(collected(generator.generate(prompt())) for _ in range(4)))
        assert {answer.text for answer in together} == {alone.text}

    async def test_generator_that_is_closed_early_leaves_no_task_and_can_be_asked_again(
        self, generator: Generator
    ) -> None:
        async with aclosing(generator.generate(prompt())) as events:
            async for event in events:
                assert isinstance(event, Delta)
                break
        assert not [task for task in asyncio.all_tasks() if "rag_server/backends" in repr(task)]
        assert (await collected(generator.generate(prompt()))).reason is FinishReason.COMPLETE

    async def test_reader_that_is_cancelled_stops_and_the_generator_can_be_asked_again(
        self, generator: Generator
    ) -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with aclosing(generator.generate(prompt())) as events:
                async for _ in events:
                    begun.set()
                    await asyncio.Event().wait()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await collected(generator.generate(prompt()))).reason is FinishReason.COMPLETE

    async def test_tokens_are_counted_text_by_text(self, generator: Generator) -> None:
        empty, one, many = generator.count_tokens(["", "heron", " ".join(TEXTS)])
        assert empty == 0
        assert 1 <= one < many
        assert generator.count_tokens([]) == []

    async def test_prompt_has_at_least_the_tokens_of_its_messages(self, generator: Generator) -> None:
        messages = (Message(Role.SYSTEM, "Cite the sources."), Message(Role.USER, "When does it wait?"))
        counts = generator.count_tokens([each.text for each in messages])
        assert generator.count_prompt(messages) >= sum(counts) > 0
        assert generator.count_prompt((*messages, *messages)) > generator.count_prompt(messages)

    async def test_check_of_a_generator_that_works_passes(self, generator: Generator) -> None:
        await generator.check()

    async def test_close_can_be_repeated(self, generator: Generator) -> None:
        await generator.close()
        await generator.close()
