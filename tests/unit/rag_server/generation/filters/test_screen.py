"""Questions and answers through filters: the pipeline, with models that play back what they say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rag_server.app_filters import create_screen
from rag_server.config import FilterSettings
from rag_server.domain.conversation import HistoryMessage, Role
from rag_server.domain.generation import Cited, Delta, Finished, FinishReason, Retrieved, Usage
from rag_server.domain.grounding import GroundingOptions
from rag_server.domain.output_format import JsonSchemaOutput
from rag_server.domain.policy import Part, PolicyReport, Redaction
from rag_server.errors import FailedPrecondition
from rag_server.generation.filters.counts import FilterCounts
from rag_server.generation.filters.screen import Screen
from rag_server.testing.generator_suite import source
from tests.unit.rag_server.generation.test_pipeline import (
    LIMIT,
    Retrieval,
    Script,
    answering,
    question,
    read,
    text_of,
    written,
)

MAIL = "ana@correo.example"


def screen(counts: FilterCounts | None = None, **settings: Any) -> Screen:
    return create_screen(FilterSettings(**settings), counts or FilterCounts())


def finished_of(events: Any) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def answer_report(*redactions: tuple[str, str, int], refused_by: str = "") -> PolicyReport:
    return PolicyReport(
        tuple(Redaction(Part.ANSWER, *each) for each in redactions),
        refused_by,
        Part.ANSWER if refused_by else None,
    )


# answers


async def test_personal_data_that_is_split_over_deltas_is_redacted_and_citations_stay_right() -> None:
    generator = written(
        "It wa", "its. Ask a", "na@cor", "reo.exam", "ple at da", "wn [1]. Call 6", "00 12", "3 456 [2]."
    )
    events, error = await read(answering(generator, screen=screen(pii_answer="redact")))
    assert error is None
    text = text_of(events)
    assert text == "It waits. Ask [email] at dawn. Call [phone]."
    told, cited = "", []
    for event in events:
        if isinstance(event, Delta):
            told += event.text
            assert "ana" not in event.text
        elif isinstance(event, Cited):
            span = event.citation.answer_span
            assert span.end <= len(told)
            cited.append((event.citation.source_index, text[span.start : span.end]))
    assert cited == [(0, "Ask [email] at dawn."), (1, "Call [phone].")]
    assert finished_of(events).policy == answer_report(("pii", "email", 1), ("pii", "phone", 1))
    assert finished_of(events).reason is FinishReason.COMPLETE


async def test_answer_without_anything_to_filter_is_as_ever() -> None:
    plain, _ = await read(answering(written("It waits at dawn [1]. It eats.")))
    events, _ = await read(
        answering(written("It waits at dawn [1]. It eats."), screen=screen(pii_answer="redact"))
    )
    assert text_of(events) == text_of(plain)
    assert [each for each in events if isinstance(each, Cited)] == [
        each for each in plain if isinstance(each, Cited)
    ]
    assert finished_of(events).policy is None


async def test_answer_with_a_blocked_phrase_ends_before_it_and_stops_the_model() -> None:
    generator = written("It waits [1]. The secret", " plan is bread. ", "More words [2].")
    filters = screen(blocklist=["secret plan"])
    events, error = await read(answering(generator, screen=filters), question("¿Cuándo espera la garza?"))
    assert error is None
    assert text_of(events) == "It waits. The \n\nSe ha retenido el resto de la respuesta."
    assert generator.is_closed
    finished = finished_of(events)
    assert finished.reason is FinishReason.POLICY
    assert finished.policy == answer_report(refused_by="blocklist")
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.prompt_token_count > 0
    assert usage.answer_token_count > 0
    assert len([event for event in events if isinstance(event, Cited)]) == 1


async def test_answer_that_begins_with_what_is_refused_is_withheld_as_a_whole() -> None:
    events, _ = await read(answering(written("Secret [1]."), screen=screen(blocklist=["secret"])))
    assert text_of(events) == "The answer was withheld."
    assert not [event for event in events if isinstance(event, Cited)]


async def test_answer_that_is_too_long_ends_at_the_limit() -> None:
    generator = Script(Delta("one two three four"), Usage(1, 1), FinishReason.COMPLETE)
    events, _ = await read(answering(generator, screen=screen(max_answer_characters=9)))
    assert text_of(events) == "one two t\n\nThe rest of the answer was withheld."
    assert finished_of(events).policy == answer_report(refused_by="length")


async def test_structured_answer_is_redacted_within_its_form() -> None:
    form = JsonSchemaOutput('{"type": "object", "properties": {"mail": {"type": "string"}}}')
    generator = written('{"mail": "ana\\u0040correo.example"}')
    events, error = await read(
        answering(generator, screen=screen(pii_answer="redact")), question(output=form)
    )
    assert error is None
    assert text_of(events) == '{"mail": "[email]"}'
    assert finished_of(events).policy == answer_report(("pii", "email", 1))


async def test_structured_answer_that_would_lose_its_form_is_withheld() -> None:
    form = JsonSchemaOutput('{"type": "object", "properties": {"phone": {"type": "integer"}}}')
    events, error = await read(
        answering(written('{"phone": 600123456}'), screen=screen(pii_answer="redact")), question(output=form)
    )
    assert error is None
    assert text_of(events) == "The answer was withheld."
    assert finished_of(events).reason is FinishReason.POLICY
    assert finished_of(events).policy == answer_report(refused_by="pii")


async def test_structured_answer_that_is_refused_is_withheld_as_a_whole() -> None:
    form = JsonSchemaOutput('{"type": "object"}')
    events, error = await read(
        answering(written('{"a": "the secret"}'), screen=screen(blocklist=["secret"])), question(output=form)
    )
    assert error is None
    assert text_of(events) == "The answer was withheld."
    assert finished_of(events).policy == answer_report(refused_by="blocklist")


async def test_model_of_a_refused_answer_is_stopped_before_the_caller_reads_on() -> None:
    generator = Script(Delta("secret plan "), asyncio.Event(), window=4096)
    pipeline = answering(generator, screen=screen(blocklist=["secret"]))
    async for event in pipeline.answer("acme", question(), limit=LIMIT):
        if isinstance(event, Delta):
            assert event.text == "The answer was withheld."
            assert generator.is_closed


async def test_judgement_of_an_answer_tells_nothing_that_was_redacted() -> None:
    generator = written("The grey heron waits by the river at dawn, call 600 123 456 [1].")
    asked = question(grounding=GroundingOptions(min_score=0.0))
    events, error = await read(answering(generator, screen=screen(pii_answer="redact")), asked)
    assert error is None
    finished = finished_of(events)
    assert finished.grounding is not None
    assert "600" not in str((events, finished.grounding.sentences))
    text = text_of(events)
    assert [text[each.span.start : each.span.end] for each in finished.grounding.sentences] == [
        "The grey heron waits by the river at dawn, call [phone]."
    ]


async def test_refused_answer_is_not_judged() -> None:
    asked = question(grounding=GroundingOptions(min_score=1.0))
    filters = screen(blocklist=["secret"])
    events, _ = await read(answering(written("It waits. Secret words."), screen=filters), asked)
    assert finished_of(events).reason is FinishReason.POLICY
    assert finished_of(events).grounding is None
    assert text_of(events) == "It waits. \n\nThe rest of the answer was withheld."


# sources


async def test_sources_are_masked_sign_by_sign_for_model_and_caller() -> None:
    sources = [source(f"The grey heron waits for {MAIL} at dawn.", title=f"Of {MAIL}")]
    generator = written("The grey heron waits at dawn [1].")
    filters = screen(pii_sources="mask")
    events, _ = await read(answering(generator, retrieval=Retrieval(sources), screen=filters))
    (shown,) = [event.sources[0].chunk for event in events if isinstance(event, Retrieved)]
    assert shown.text == f"The grey heron waits for {'•' * len(MAIL)} at dawn."
    assert MAIL not in f"{shown} {generator.prompts[0]} {events}"
    (citation,) = [event.citation for event in events if isinstance(event, Cited)]
    assert shown.text[citation.source_span.start : citation.source_span.end] == citation.quote
    assert finished_of(events).policy == PolicyReport((Redaction(Part.SOURCES, "pii", "email", 2),))


# questions


async def test_question_and_history_are_redacted_and_that_is_told() -> None:
    history = (HistoryMessage(Role.USER, f"I am {MAIL}"),)
    asked = question(f"Who is {MAIL}, or a@b.org?", history=history)
    screened, report = await screen(pii_question="redact").question(asked)
    assert screened.question == screened.retrieval.query == "Who is [email], or [email]?"
    assert screened.history == (HistoryMessage(Role.USER, "I am [email]"),)
    assert report == PolicyReport(
        (Redaction(Part.QUESTION, "pii", "email", 2), Redaction(Part.HISTORY, "pii", "email", 1))
    )


@pytest.mark.parametrize(
    ("text", "history", "settings", "refused"),
    [
        (f"Who is {MAIL}?", "", {"pii_question": "refuse"}, ("pii", Part.QUESTION)),
        ("The secret?", "", {"blocklist": ["SECRET"]}, ("blocklist", Part.QUESTION)),
        ("And then?", "The secret!", {"blocklist": ["secret"]}, ("blocklist", Part.HISTORY)),
        ("Far too long", "", {"max_question_characters": 5}, ("length", Part.QUESTION)),
    ],
)
async def test_question_is_refused_and_the_filter_named(
    text: str, history: str, settings: Any, refused: tuple[str, Part]
) -> None:
    said = (HistoryMessage(Role.USER, history),) if history else ()
    _, report = await screen(**settings).question(question(text, history=said))
    assert (report.refused_by, report.refused_part) == refused


async def test_question_without_filters_passes_as_it_is() -> None:
    asked = question(f"Who is {MAIL}?")
    assert await screen().question(asked) == (asked, PolicyReport())
    off = screen(blocklist=["who"], blocklist_question="off", blocklist_answer="off")
    assert await off.question(asked) == (asked, PolicyReport())


async def test_stored_history_is_redacted_and_never_refused() -> None:
    messages = [HistoryMessage(Role.USER, f"I am {MAIL}, a secret")]
    (told,) = await screen(pii_question="redact", blocklist=["secret"]).history(messages)
    assert told.text == "I am [email], a [blocked]"
    assert await screen().history(messages) is messages


# settings and counts


def test_blocklist_that_cannot_be_looked_for_is_no_start() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        screen(blocklist=["..."])
    assert caught.value.reason == "BLOCKLIST_UNUSABLE"


async def test_filters_are_counted_without_any_content() -> None:
    registry = CollectorRegistry()
    counts = FilterCounts(registry)
    filters = screen(counts, pii_question="redact", blocklist=["secret"])
    await filters.question(question(f"{MAIL} {MAIL}"))
    await read(answering(written("Secret"), screen=filters))
    labels = {"filter": "pii", "kind": "email", "part": "question"}
    assert registry.get_sample_value("rag_filter_redactions_total", labels) == 2
    refusals = {"filter": "blocklist", "part": "answer"}
    assert registry.get_sample_value("rag_filter_refusals_total", refusals) == 1
