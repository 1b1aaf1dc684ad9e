from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from rag_server.domain.document import Span
from rag_server.domain.generation import (
    Citation,
    Cited,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    Retrieved,
    Started,
    Usage,
)
from rag_server.domain.retrieval import (
    Degradation,
    RetrievalRequest,
    RetrievalResult,
    ScoredChunk,
    ScoreScale,
)
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import Internal, NotFound
from rag_server.generation.pipeline import Answering
from rag_server.query.field_paths import GENERATE, FieldPaths
from tests.unit.rag_server.query.conftest import make_chunk

REQUEST = GenerationRequest(RetrievalRequest(("books",), "where?"))
SOURCE = ScoredChunk(make_chunk("a"), 0.5, {})
LIMIT = TimeLimit(1e9, is_callers=True)
CITED = Cited(Citation(0, Span(0, 2), Span(0, 2), "te"))


class Retrieval:
    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def retrieve(
        self,
        tenant_id: str,
        request: RetrievalRequest,
        paths: FieldPaths,
        *,
        limit: TimeLimit | None = None,
    ) -> RetrievalResult:
        assert (tenant_id, request, paths, limit) == ("acme", REQUEST.retrieval, GENERATE, LIMIT)
        if self.failure:
            raise self.failure
        return RetrievalResult(
            (SOURCE,), ScoreScale.RRF, (Degradation.LEXICAL_ONLY,), {"books": 3}, {"embed": 7, "total": 9}
        )


class Generator:
    """Plays back events; one that is an exception is raised."""

    model = "script"

    def __init__(self, *script: Any) -> None:
        self.script = script
        self.is_closed = False
        self.sources: Sequence[ScoredChunk] = ()

    async def generate(
        self, request: GenerationRequest, sources: Sequence[ScoredChunk]
    ) -> AsyncGenerator[Any, None]:
        self.sources = sources
        try:
            for each in self.script:
                if isinstance(each, Exception):
                    raise each
                yield each
        finally:
            self.is_closed = True


def answering(generator: Generator, failure: Exception | None = None) -> Answering:
    return Answering(Retrieval(failure), generator)  # type: ignore[arg-type]  # all that is asked of it


async def test_answer_events_come_in_order_and_end_with_the_reason() -> None:
    usage = Usage(3, 2)
    generator = Generator(Delta("te"), CITED, usage, FinishReason.COMPLETE)
    events = [each async for each in answering(generator).answer("acme", REQUEST, limit=LIMIT)]
    *first, last = events
    assert first == [
        Started("script"),
        Retrieved((SOURCE,), ScoreScale.RRF, (Degradation.LEXICAL_ONLY,), {"books": 3}),
        Delta("te"),
        CITED,
        usage,
    ]
    assert isinstance(last, Finished)
    assert last.reason is FinishReason.COMPLETE
    assert set(last.timings_us) == {"embed", "generate", "total"}
    assert last.timings_us["embed"] == 7
    assert generator.sources == (SOURCE,)


async def test_answer_reason_before_other_events_still_ends_it() -> None:
    generator = Generator(FinishReason.MAX_TOKENS, Usage(1, 1))
    events = [each async for each in answering(generator).answer("acme", REQUEST, limit=LIMIT)]
    assert [type(each) for each in events[-2:]] == [Usage, Finished]


async def read(events: AsyncGenerator[GenerationEvent, None], into: list[GenerationEvent]) -> None:
    async for event in events:
        into.append(event)  # noqa: PERF401 - what came before an error counts


async def test_answer_without_a_reason_is_an_error_not_a_short_answer() -> None:
    events: list[GenerationEvent] = []
    with pytest.raises(Internal) as caught:
        await read(answering(Generator(Delta("te"))).answer("acme", REQUEST, limit=LIMIT), events)
    assert caught.value.reason == "GENERATION_INCOMPLETE"
    assert not any(isinstance(each, Finished) for each in events)


async def test_answer_of_a_generator_that_breaks_raises_what_it_raised() -> None:
    events: list[GenerationEvent] = []
    with pytest.raises(KeyError):
        await read(
            answering(Generator(Delta("te"), KeyError("x"))).answer("acme", REQUEST, limit=LIMIT), events
        )
    assert isinstance(events[-1], Delta)


async def test_answer_of_a_retrieval_that_fails_generates_nothing() -> None:
    generator = Generator(FinishReason.COMPLETE)
    with pytest.raises(NotFound):
        async for _ in answering(generator, NotFound.for_resource("collection", "x")).answer(
            "acme", REQUEST, limit=LIMIT
        ):
            pass
    assert not generator.is_closed  # was never begun


async def test_answer_that_is_closed_early_closes_the_generator() -> None:
    generator = Generator(Delta("a"), Delta("b"), FinishReason.COMPLETE)
    events = answering(generator).answer("acme", REQUEST, limit=LIMIT)
    async for event in events:
        if isinstance(event, Delta):
            break
    await events.aclose()
    assert generator.is_closed


async def test_answer_that_is_cancelled_stops_the_generator() -> None:
    class Hanging(Generator):
        started = asyncio.Event()

        async def generate(self, request: Any, sources: Any) -> AsyncGenerator[Any, None]:
            try:
                yield Delta("a")
                self.started.set()
                await asyncio.Event().wait()
            finally:
                self.is_closed = True

    generator = Hanging()

    async def read() -> None:
        async for _ in answering(generator).answer("acme", REQUEST, limit=LIMIT):
            pass

    task = asyncio.create_task(read())
    await generator.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert generator.is_closed
