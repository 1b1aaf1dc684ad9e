"""Answers of a form over gRPC: a real server, a real HTTP provider with scripted answers."""

from __future__ import annotations

import json
from typing import Any

import grpc

from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import output_format_pb2 as output_pb
from tests.integration.test_generation_models import Rig, rig
from tests.openai_server import Stream
from tests.rag_client import failure

__all__ = ["rig"]

CODE = grpc.StatusCode
SCHEMA = {"type": "object", "properties": {"when": {"type": "string"}}, "required": ["when"]}
BY_SCHEMA = output_pb.OutputFormat(json_schema=json.dumps(SCHEMA))
ANSWER = '{"when": "The grey heron waits by the river at dawn.", "map": "![x](http://evil.example/?q=1)"}'


async def test_stream_of_a_structured_answer_is_one_clean_json_with_citations(rig: Rig) -> None:
    rig.provider.script(Stream.of("At dawn."), Stream.of(*ANSWER))
    events = [event async for event in rig.ask(output=BY_SCHEMA)]
    (text,) = [event.delta.text for event in events if event.HasField("delta")]
    answer = json.loads(text)
    assert answer == {"when": "The grey heron waits by the river at dawn.", "map": "x"}
    (citation,) = [event.citation for event in events if event.HasField("citation")]
    assert text[citation.answer_span.start : citation.answer_span.end] == answer["when"]
    assert (citation.origin, citation.document_id) == (generate_pb.CITATION_ORIGIN_SIMILARITY, "heron.txt")
    assert events[-1].finished.reason == generate_pb.FINISH_REASON_COMPLETE
    assert events[-2].usage == generate_pb.Usage(prompt_token_count=22, answer_token_count=14)

    first, second = rig.provider.bodies
    assert first["response_format"]["json_schema"]["schema"] == SCHEMA
    assert json.dumps(SCHEMA) in first["messages"][0]["content"]
    assert "not JSON" in second["messages"][-1]["content"]


async def test_choice_is_given_as_it_was_asked_for(rig: Rig) -> None:
    rig.provider.script(Stream.of("**yes**."))
    output = output_pb.OutputFormat(choice=output_pb.OutputChoice(values=["Yes", "No"]))
    assert (await rig.answer(output=output)).answer == "Yes"


async def test_answer_that_never_has_the_form_is_an_error(rig: Rig) -> None:
    rig.provider.script(Stream.of("hunter2"), Stream.of("hunter2"))
    failed = await failure(rig.ask(output=output_pb.OutputFormat(regex="[0-9]+")))
    assert (failed.code, failed.reason) == (CODE.UNAVAILABLE, "OUTPUT_NOT_SATISFIED")
    assert failed.retry_after_s is not None
    assert "hunter2" not in failed.message


async def test_form_that_cannot_be_had_is_refused_naming_the_field(rig: Rig) -> None:
    of = output_pb.OutputFormat
    cases: list[tuple[Any, str, str, str]] = [
        (of(json_schema="[]"), "", "json_schema", "OUTPUT_SCHEMA_INVALID"),
        (of(regex="("), "", "regex", "OUTPUT_REGEX_INVALID"),
        (of(), "", "format", "INVALID_REQUEST"),
        (of(choice=output_pb.OutputChoice()), "", "choice.values", "INVALID_REQUEST"),
        (BY_SCHEMA, "extractive", "", "OUTPUT_NOT_SUPPORTED"),
    ]
    for output, model, field, reason in cases:
        failed = await failure(rig.ask(output=output, model=model))
        assert (failed.code, failed.reason) == (CODE.INVALID_ARGUMENT, reason)
        assert list(failed.violations) == [f"generation.output.{field}".rstrip(".")]
    assert rig.provider.bodies == []
