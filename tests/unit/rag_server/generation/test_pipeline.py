from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rag_server.backends.protocols import GeneratorModel, Price
from rag_server.domain.conversation import Summary
from rag_server.domain.document import Span
from rag_server.domain.expansion import MultiQuery, QueryExpansion, SearchedWith
from rag_server.domain.generation import (
    Citation,
    CitationOrigin,
    Cited,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    Message,
    Preparation,
    Prompt,
    Retrieved,
    Role,
    Started,
    Usage,
)
from rag_server.domain.grounding import GroundingOptions
from rag_server.domain.output_format import JsonSchemaOutput
from rag_server.domain.retrieval import (
    Degradation,
    RetrievalRequest,
    RetrievalResult,
    ScoredChunk,
    ScoreScale,
)
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import Internal, InvalidArgument, NotFound, RagError, ResourceExhausted, Unavailable
from rag_server.generation.admission import Gate
from rag_server.generation.asking import Asking
from rag_server.generation.attribution import Attributor
from rag_server.generation.cite import Citer
from rag_server.generation.compose import Composer
from rag_server.generation.cost import CostLimit
from rag_server.generation.expand.expanding import Expanding
from rag_server.generation.filters.screen import Screen
from rag_server.generation.ground import Grounder
from rag_server.generation.grounding.judge import Judge
from rag_server.generation.models import Models, ServedModel
from rag_server.generation.pipeline import Answering
from rag_server.generation.prompt import PromptTemplates
from rag_server.generation.structured import StructuredWriter
from rag_server.generation.task_prompt import TaskTemplates
from rag_server.generation.tasks import Tasks
from rag_server.query.field_paths import GENERATE, FieldPaths
from rag_server.testing.fakes import HashEmbedder
from rag_server.testing.generator_suite import SOURCES, source

LIMIT = TimeLimit(1e9, is_callers=True)
QUOTED = Cited(Citation(0, Span(0, 2), Span(0, 2), "te"))
DOWN = Unavailable("PROVIDER_FAILED", "the provider is down")


def question(text: str = "when does the heron wait?", **options: Any) -> GenerationRequest:
    return GenerationRequest(RetrievalRequest(("books",), text), **options)


class Retrieval:
    def __init__(self, sources: Sequence[ScoredChunk] = SOURCES, failure: Exception | None = None) -> None:
        self.sources = tuple(sources)
        self.failure = failure

    async def retrieve(
        self,
        tenant_id: str,
        request: RetrievalRequest,
        paths: FieldPaths,
        *,
        limit: TimeLimit | None = None,
    ) -> RetrievalResult:
        assert (tenant_id, paths, limit) == ("acme", GENERATE, LIMIT)
        if self.failure:
            raise self.failure
        return RetrievalResult(
            self.sources, ScoreScale.RRF, (Degradation.LEXICAL_ONLY,), {"books": 3}, {"embed": 7, "total": 9}
        )


class Script:
    """A generator that plays back events; one that is an exception is raised, an asyncio.Event waited for."""

    def __init__(
        self, *script: Any, name: str = "script", window: int | None = None, price: Price | None = None
    ) -> None:
        self.model = GeneratorModel(name, "local", window, True, price)
        self.script = script
        self.prompts: list[Prompt] = []
        self.is_closed = False

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Any, None]:
        self.prompts.append(prompt)
        try:
            for each in self.script:
                if isinstance(each, Exception):
                    raise each
                if isinstance(each, asyncio.Event):
                    await each.wait()
                else:
                    yield each
        finally:
            self.is_closed = True

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def answering(
    *generators: Script,
    retrieval: Retrieval | None = None,
    max_cost: float | None = None,
    queue: int = 4,
    screen: Screen | None = None,
) -> Answering:
    """Return the pipeline; the first generator is the default, the others are its fallbacks."""
    served = [ServedModel(each, Gate(each.model.name, permits=1, queue=queue)) for each in generators]
    templates, attributor = PromptTemplates(), Attributor(HashEmbedder())
    composer = Composer(templates, max_cost=max_cost)
    models = Models(served, fallbacks=[each.model.name for each in generators[1:]])
    asking = Asking(composer, Citer(attributor), StructuredWriter(templates, attributor))
    tasks = Tasks(models, TaskTemplates(), CostLimit(max_cost), timeout_s=60.0)
    grounder = Grounder(Judge(HashEmbedder()))
    expanding = Expanding(tasks)
    found = retrieval or Retrieval()
    return Answering(found, models, composer, asking, expanding, grounder, screen)  # type: ignore[arg-type]


async def read(
    pipeline: Answering, request: GenerationRequest | None = None
) -> tuple[list[GenerationEvent], RagError | None]:
    """Return the events and the error after them."""
    events: list[GenerationEvent] = []
    try:
        async for event in pipeline.answer("acme", request or question(), limit=LIMIT):
            events.append(event)  # noqa: PERF401 - what came before an error counts
    except RagError as error:
        return events, error
    return events, None


def text_of(events: Sequence[GenerationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def written(*tokens: str, name: str = "writer", window: int = 4096, **others: Any) -> Script:
    """Return a generator that writes `tokens`."""
    deltas = [Delta(token) for token in tokens]
    return Script(*deltas, Usage(9, 3), FinishReason.COMPLETE, name=name, window=window, **others)


# generators that quote


async def test_answer_events_come_in_order_and_end_with_the_reason() -> None:
    usage = Usage(3, 2)
    generator = Script(Delta("te"), QUOTED, usage, FinishReason.COMPLETE)
    events, error = await read(answering(generator))
    *first, last = events
    assert error is None
    assert first == [
        Started("script"),
        Retrieved(SOURCES, ScoreScale.RRF, (Degradation.LEXICAL_ONLY,), {"books": 3}),
        Delta("te"),
        QUOTED,
        usage,
    ]
    assert isinstance(last, Finished)
    assert (last.reason, last.model, last.degradations, last.prompt) == (
        FinishReason.COMPLETE,
        "script",
        (),
        None,
    )
    assert set(last.timings_us) == {"embed", "prompt", "generate", "total"}
    assert last.timings_us["embed"] == 7
    assert generator.prompts == [Prompt(question(), SOURCES, (), LIMIT)]


async def test_answer_reason_before_other_events_still_ends_it() -> None:
    events, _ = await read(answering(Script(FinishReason.MAX_TOKENS, Usage(1, 1))))
    assert [type(each) for each in events[-2:]] == [Usage, Finished]


async def test_answer_without_a_reason_is_an_error_not_a_short_answer() -> None:
    events, error = await read(answering(Script(Delta("te"))))
    assert isinstance(error, Internal)
    assert error.reason == "GENERATION_INCOMPLETE"
    assert not any(isinstance(each, Finished) for each in events)


async def test_answer_of_a_generator_with_a_bug_raises_what_it_raised() -> None:
    with pytest.raises(KeyError):
        await read(answering(Script(Delta("te"), KeyError("x"))))


async def test_answer_of_a_retrieval_that_fails_generates_nothing() -> None:
    generator = Script(FinishReason.COMPLETE)
    retrieval = Retrieval(failure=NotFound.for_resource("collection", "x"))
    events, error = await read(answering(generator, retrieval=retrieval))
    assert (events, generator.prompts) == ([], [])
    assert isinstance(error, NotFound)


async def test_answer_that_is_closed_early_closes_the_generator() -> None:
    for generator in (Script(Delta("a"), asyncio.Event()), written("a ", "b ", window=4096)):
        events = answering(generator).answer("acme", question(), limit=LIMIT)
        async for event in events:
            if isinstance(event, Delta):
                break
        await events.aclose()
        assert generator.is_closed


@pytest.mark.parametrize("window", [None, 4096])
async def test_answer_that_is_cancelled_stops_the_generator(window: int | None) -> None:
    generator = Script(Delta("a b"), asyncio.Event(), window=window)
    begun = asyncio.Event()

    async def look() -> None:
        async for event in answering(generator).answer("acme", question(), limit=LIMIT):
            if isinstance(event, Delta):
                begun.set()

    task = asyncio.create_task(look())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert generator.is_closed


# generators that write


async def test_written_answer_is_cleaned_and_cited_by_its_markers() -> None:
    tokens = ("It waits ", "at da", "wn [", "1", "]. See ![map](http://evil.example). ", "[9] Bread [2].")
    generator = written(*tokens)
    events, error = await read(answering(generator))
    assert error is None
    assert text_of(events) == "It waits at dawn. See map. Bread."
    citations = [event.citation for event in events if isinstance(event, Cited)]
    assert [(each.source_index, each.answer_span, each.origin) for each in citations] == [
        (0, Span(0, 17), CitationOrigin.MARKER),
        (1, Span(27, 33), CitationOrigin.MARKER),
    ]
    assert citations[0].quote == "The grey heron waits by the river at dawn."
    assert citations[0].similarity is None
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.COMPLETE


@pytest.mark.parametrize("keeps_markers", [True, False])
async def test_citation_comes_right_after_its_sentence(keeps_markers: bool) -> None:
    answer = "It waits at dawn [1]. Dr. Heron eats fish [1]! - Bread [2]\n- Oven [2]\n\nThe end [1]"
    text, ends = "", []
    pipeline = answering(written(*answer))
    async for event in pipeline.answer("acme", question(keeps_markers=keeps_markers), limit=LIMIT):
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Cited):
            after = text[event.citation.answer_span.end :]
            assert re.fullmatch(r"( \[\d\])?", after), "nothing but the marker of a line without a full stop"
            ends.append(text[-5:])
    assert text == (answer if keeps_markers else re.sub(r" \[\d\]", "", answer))
    assert len(ends) == 5


async def test_citation_comes_before_the_rest_of_the_answer() -> None:
    gate = asyncio.Event()
    generator = Script(
        Delta("It waits at dawn [1]. It eats "),
        gate,
        Delta("fish [1]."),
        Usage(1, 1),
        FinishReason.COMPLETE,
        window=4096,
    )
    async for event in answering(generator).answer("acme", question(), limit=LIMIT):
        if isinstance(event, Cited):
            gate.set()
    assert gate.is_set()


async def test_markers_stay_where_they_are_asked_for_and_are_of_sources() -> None:
    generator = written("It waits at dawn [1, 7]. Bread [8].")
    events, _ = await read(answering(generator), question(keeps_markers=True))
    assert text_of(events) == "It waits at dawn [1]. Bread."
    (citation,) = [event.citation for event in events if isinstance(event, Cited)]
    assert citation.answer_span == Span(0, 21)


async def test_sentence_without_a_marker_is_attributed_by_similarity_and_says_so() -> None:
    generator = written("The grey heron waits by the river at dawn. Unicorns fly over castles tonight.")
    events, _ = await read(answering(generator))
    (citation,) = [event.citation for event in events if isinstance(event, Cited)]
    assert (citation.origin, citation.source_index) == (CitationOrigin.SIMILARITY, 0)
    assert citation.similarity == pytest.approx(1.0, abs=1e-3)
    assert citation.quote == "The grey heron waits by the river at dawn."


async def test_answer_is_judged_where_it_is_asked_for_and_finished_tells() -> None:
    generator = written("The grey heron waits by the river at dawn [1].")
    events, _ = await read(answering(generator), question(grounding=GroundingOptions(0.9)))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.grounding is not None
    assert finished.grounding.score == 1.0
    assert "ground" in finished.timings_us
    events, _ = await read(answering(generator))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.grounding is None
    assert "ground" not in finished.timings_us


async def test_answer_that_its_sources_do_not_bear_out_is_withheld() -> None:
    generator = written("Ravens own 17 castles [1].")
    events, _ = await read(answering(generator), question(grounding=GroundingOptions(0.5)))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.LOW_GROUNDING
    assert "castles" not in text_of(events)
    assert not any(isinstance(event, Cited) for event in events)


async def test_started_and_finished_tell_what_the_model_was_given() -> None:
    generator = written("At dawn [1].", price=Price(1_000_000.0, 2_000_000.0))
    events, _ = await read(answering(generator), question(max_tokens=10))
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    report = started.prompt
    assert report is not None
    assert finished.prompt == report
    (prompt,) = generator.prompts
    assert report.token_count == sum(len(each.text.split()) + 8 for each in prompt.messages)
    assert (report.template, report.window_tokens, report.is_estimated) == ("answer/1/en", 4096, False)
    assert (report.left_out_sources, report.left_out_message_count) == ((), 0)
    assert report.max_cost == report.token_count + 20


async def test_source_that_was_left_out_is_told_and_cannot_be_cited() -> None:
    long = tuple(SOURCES) * 10
    generator = written("At dawn [1]. Bread [20].", window=450)
    events, _ = await read(answering(generator, retrieval=Retrieval(long)), question(max_tokens=10))
    started = events[0]
    assert isinstance(started, Started)
    assert started.prompt is not None
    left_out = started.prompt.left_out_sources
    assert left_out == tuple(range(left_out[0], 20))
    assert 0 < left_out[0] < 20
    assert started.prompt.token_count + 10 <= 450
    assert f'id="{left_out[0]}"' in generator.prompts[0].messages[-1].text
    assert f'id="{left_out[0] + 1}"' not in generator.prompts[0].messages[-1].text
    assert [event.citation.source_index for event in events if isinstance(event, Cited)] == [0]


async def test_history_is_between_instructions_and_question_and_loses_its_oldest() -> None:
    history = tuple(
        Message(role, f"turn {index} " + "word " * 20)
        for index in range(10)
        for role in (Role.USER, Role.ASSISTANT)
    )
    generator = written("At dawn [1].", window=700)
    events, _ = await read(answering(generator), question(max_tokens=10, history=history))
    started = events[0]
    assert isinstance(started, Started)
    assert started.prompt is not None
    left_out = started.prompt.left_out_message_count
    assert 0 < left_out < len(history)
    messages = generator.prompts[0].messages
    assert messages[0].role is Role.SYSTEM
    # an answer that lost its question gets something to answer: user and assistant take turns
    opening = ["…"] * (history[left_out].role is Role.ASSISTANT)
    assert [each.text for each in messages[1:-1]] == [*opening, *(each.text for each in history[left_out:])]
    assert {each.role for each in messages[1::2]} == {Role.USER}
    assert {each.role for each in messages[2::2]} == {Role.ASSISTANT}
    assert messages[-1].role is Role.USER


@pytest.mark.parametrize("window", range(500, 900, 25))
async def test_user_and_assistant_take_turns_in_the_prompt_wherever_the_history_is_cut(window: int) -> None:
    roles = (Role.ASSISTANT, Role.USER)
    history = tuple(Message(role, "and then? " * 20) for _ in range(4) for role in roles)
    generator = written("At dawn [1].", window=window)
    events, _ = await read(answering(generator), question(max_tokens=10, history=history))
    started = events[0]
    assert isinstance(started, Started)
    assert started.prompt is not None
    turns = generator.prompts[0].messages[1:]
    assert [each.role for each in turns] == [
        (Role.USER, Role.ASSISTANT)[index % 2] for index in range(len(turns))
    ]
    told = len(history) - started.prompt.left_out_message_count
    assert sum(each.text.count("then") for each in turns) == 20 * told


async def test_history_gives_way_to_the_best_source() -> None:
    history = (Message(Role.USER, "why? " * 50), Message(Role.ASSISTANT, "so " * 50))
    generator = written("At dawn [1].", window=600)
    retrieval = Retrieval([source("word " * 330)])
    events, error = await read(
        answering(generator, retrieval=retrieval), question(max_tokens=10, history=history)
    )
    assert error is None
    started = events[0]
    assert isinstance(started, Started)
    assert started.prompt is not None
    assert (started.prompt.left_out_sources, started.prompt.left_out_message_count) == ((), 1)


async def test_form_that_fills_the_window_is_named() -> None:
    output = JsonSchemaOutput('{"description": "' + "word " * 700 + '"}')
    _, error = await read(answering(written("x", window=600)), question(max_tokens=10, output=output))
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.violations[0].field) == ("QUESTION_EXCEEDS_WINDOW", "generation.output")


@pytest.mark.parametrize(
    ("window", "size", "left_out"), [(4096, 20, 0), (4096, 1500, 6), (300, 20, 6)], ids=["in", "long", "full"]
)
async def test_summary_is_in_the_prompt_where_it_has_room_and_is_counted_where_not(
    window: int, size: int, left_out: int
) -> None:
    history = (Message(Role.USER, "why?"), Message(Role.ASSISTANT, "so"))
    generator = written("At dawn [1].", window=window)
    request = question(max_tokens=10, history=history, summary=Summary("grey " * size, 6))
    events, error = await read(answering(generator), request)
    assert error is None
    started = events[0]
    assert isinstance(started, Started)
    assert started.prompt is not None
    messages = generator.prompts[0].messages
    assert started.prompt.left_out_message_count == left_out
    assert ("grey grey" in messages[1].text) == (not left_out)
    assert messages[1].text.endswith("why?")
    assert started.prompt.token_count == sum(len(each.text.split()) + 8 for each in messages)
    assert started.prompt.token_count + 10 <= window


async def test_question_longer_than_the_window_is_refused_before_the_model_is_asked() -> None:
    generator = written("x", window=600)
    events, error = await read(answering(generator), question("why " * 700, max_tokens=10))
    assert events == []
    assert isinstance(error, InvalidArgument)
    assert error.reason == "QUESTION_EXCEEDS_WINDOW"
    assert error.violations[0].field == "question"
    assert error.metadata["question_tokens"] == "700"
    assert generator.prompts == []


async def test_answer_as_long_as_the_window_is_refused_naming_its_length() -> None:
    _, error = await read(answering(written("x", window=600)), question(max_tokens=600))
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.violations[0].field) == ("INVALID_REQUEST", "generation.max_answer_tokens")


async def test_prompt_without_room_for_any_source_is_refused() -> None:
    retrieval = Retrieval([source("word " * 1000)])
    _, error = await read(answering(written("x", window=600), retrieval=retrieval), question(max_tokens=10))
    assert isinstance(error, InvalidArgument)
    assert error.reason == "QUESTION_EXCEEDS_WINDOW"
    assert error.violations[0].field == "generation.max_answer_tokens"


@pytest.mark.parametrize(
    ("own", "servers", "field"),
    [
        (1.0, None, "generation.max_cost"),
        (None, 1.0, "generation.max_answer_tokens"),
        (9.0, 1.0, "generation.max_answer_tokens"),
    ],
)
async def test_answer_that_may_cost_too_much_is_refused(
    own: float | None, servers: float | None, field: str
) -> None:
    generator = written("x", price=Price(1e6, 1e6))
    _, error = await read(answering(generator, max_cost=servers), question(max_cost=own))
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.violations[0].field) == ("COST_LIMIT_EXCEEDED", field)
    assert error.metadata["limit"] == "1"
    assert generator.prompts == []


async def test_answer_without_sources_abstains_and_asks_nobody() -> None:
    generator = written("x")
    pipeline = answering(generator, retrieval=Retrieval(()))
    events, _ = await read(pipeline, question("¿Cuándo espera la garza?"))
    assert text_of(events) == "No encontré nada en los documentos que responda a esta pregunta."
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.prompt) == (FinishReason.NO_RELEVANT_CONTENT, None)
    assert generator.prompts == []


@pytest.mark.parametrize(
    "tokens",
    [
        ("NO_RELEVANT", "_CONTENT"),
        ("**NO_RELEVANT_CONTENT**.",),
        (" NO_RELEVANT_CONTENT. Sorry", " me."),
    ],
)
async def test_model_that_abstains_does_so_in_the_callers_language(tokens: tuple[str, ...]) -> None:
    events, _ = await read(answering(written(*tokens)))
    assert text_of(events) == "I found nothing in the documents that answers this question."
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.NO_RELEVANT_CONTENT


@pytest.mark.parametrize("tokens", [("No.",), ("N",), ("NO_RELEV",), ("NO", " dawn"), (".",) * 100])
async def test_words_that_begin_like_an_abstention_are_an_answer(tokens: tuple[str, ...]) -> None:
    events, _ = await read(answering(written(*tokens)))
    assert text_of(events) == "".join(tokens)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.COMPLETE


async def test_model_that_dies_in_mid_answer_ends_in_its_error_after_the_words_so_far() -> None:
    dying = Script(Delta("It waits "), DOWN, name="dying", window=4096)
    spare = written("spare", name="spare")
    events, error = await read(answering(dying, spare))
    assert error is DOWN
    assert text_of(events) == "It waits"
    assert not any(isinstance(event, Finished) for event in events)
    assert spare.prompts == []


# which model


async def test_unknown_model_is_refused_naming_the_field_and_the_models() -> None:
    events, error = await read(answering(Script()), question(model="gpt"))
    assert events == []
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.violations[0].field) == ("MODEL_UNKNOWN", "generation.model")
    assert error.metadata["models"] == "default, script"


async def test_model_that_cannot_answer_is_replaced_by_the_next_and_that_is_told() -> None:
    first = Script(DOWN, name="first", window=4096)
    second = Script(ResourceExhausted("PROVIDER_RATE_LIMITED", "later"), name="second", window=4096)
    third = Script(Delta("te"), QUOTED, Usage(1, 1), FinishReason.COMPLETE, name="third")
    events, error = await read(answering(first, second, third))
    assert error is None
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert (started.model, finished.model) == ("first", "third")
    assert finished.degradations == (Degradation.FALLBACK_MODEL,)
    assert finished.prompt is None
    assert text_of(events) == "te"


async def test_fallback_with_a_smaller_window_gets_a_prompt_of_its_own() -> None:
    first = Script(DOWN, name="first", window=100_000)
    second = written("At dawn [1].", name="second", window=450)
    events, _ = await read(
        answering(first, second, retrieval=Retrieval(tuple(SOURCES) * 10)), question(max_tokens=10)
    )
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert started.prompt is not None
    assert finished.prompt is not None
    assert (started.prompt.left_out_sources, started.prompt.window_tokens) == ((), 100_000)
    assert finished.prompt.left_out_sources
    assert finished.prompt.window_tokens == 450


async def test_error_of_the_model_that_was_asked_for_is_told_when_no_other_can_answer() -> None:
    first = Script(DOWN, name="first", window=4096)
    small = written("x", name="small", window=100)
    last = Script(Unavailable("PROVIDER_UNREACHABLE", "gone"), name="last", window=4096)
    _, error = await read(answering(first, small, last))
    assert error is DOWN


async def test_slow_reader_is_given_what_came_and_the_model_is_read_ahead_by_a_bound() -> None:
    given: list[int] = []

    class Endless(Script):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[Any, None]:
            try:
                for index in range(10_000):
                    given.append(index)
                    yield Delta("word ")
                    await asyncio.sleep(0)
            finally:
                self.is_closed = True

    generator = Endless(window=100_000)
    events = answering(generator).answer("acme", question(), limit=LIMIT)
    async for event in events:
        if isinstance(event, Delta):
            break
    for _ in range(2000):  # the reader does something else
        await asyncio.sleep(0)
    assert 256 <= len(given) <= 300
    await events.aclose()
    assert generator.is_closed


async def test_what_was_done_before_the_search_is_part_of_the_answer_and_of_its_cost() -> None:
    prepared = Preparation(Usage(100, 10), 0.5, (Degradation.NO_REWRITE,))
    model = written("At dawn [1].", price=Price(1e6, 1e6))
    events, error = await read(answering(model), replace(question(), preparation=prepared))
    assert error is None
    (retrieved,) = [event for event in events if isinstance(event, Retrieved)]
    assert retrieved.degradations == (Degradation.NO_REWRITE, Degradation.LEXICAL_ONLY)
    assert Usage(109, 13) in events
    alone, _ = await read(answering(model))
    costs = [each.prompt.max_cost for each in (events[0], alone[0])]  # type: ignore[union-attr]
    assert costs[0] == costs[1] + 0.5


async def test_question_is_expanded_before_it_is_searched_and_told_with_the_start() -> None:
    model = written("Dawn hours of herons")
    request = question("when does the heron wait?", expansion=QueryExpansion(MultiQuery(1)))
    events, error = await read(answering(model), request)
    assert error is None
    started, *_, finished = events
    assert isinstance(started, Started)
    queries = ("when does the heron wait?", "Dawn hours of herons")
    assert started.searched == SearchedWith("writer", queries)
    assert isinstance(finished, Finished)
    assert next(iter(finished.timings_us)) == "expand"
    assert Usage(18, 6) in events
