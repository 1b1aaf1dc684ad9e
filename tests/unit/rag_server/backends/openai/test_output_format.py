from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rag_server.backends.openai.output_format import EnforcedBy, output_members
from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, OutputFormat, RegexOutput
from rag_server.testing.generator_suite import collected, prompt
from tests.openai_server import OpenAiServer
from tests.unit.rag_server.backends.openai.conftest import MakeGenerator

CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "object", "properties": {}, "additionalProperties": False}},
    "required": ["a"],
    "additionalProperties": False,
}


def schema_output(schema: Any) -> JsonSchemaOutput:
    return JsonSchemaOutput(json.dumps(schema))


@pytest.mark.parametrize("enforced_by", ["json_schema", "vllm"])
def test_schema_goes_as_the_response_format(enforced_by: EnforcedBy) -> None:
    members = output_members(schema_output(CLOSED), enforced_by)
    described = {"name": "answer", "schema": CLOSED, "strict": True}
    assert members == {"response_format": {"type": "json_schema", "json_schema": described}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "array"},
        {**CLOSED, "required": []},
        {**CLOSED, "additionalProperties": True},
        {**CLOSED, "properties": {"a": {"type": "object"}}},
        {**CLOSED, "required": [1]},
        {**CLOSED, "const": {"type": "object", "required": 5, "properties": [1]}},
    ],
)
def test_schema_that_is_open_is_not_called_strict(schema: Any) -> None:
    members = output_members(schema_output(schema), "json_schema")
    assert members["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize(
    ("output", "member"),
    [
        (RegexOutput("a+"), {"structured_outputs": {"regex": "a+"}}),
        (ChoiceOutput(("a", "b")), {"structured_outputs": {"choice": ["a", "b"]}}),
    ],
)
def test_regex_and_choice_go_to_vllm_servers_only(output: OutputFormat, member: Any) -> None:
    assert output_members(output, "vllm") == member
    assert output_members(output, "json_schema") == {}


@pytest.mark.parametrize("output", [None, schema_output(CLOSED), RegexOutput("a"), ChoiceOutput(("a",))])
def test_provider_that_enforces_nothing_is_told_nothing(output: OutputFormat | None) -> None:
    assert output_members(output, "none") == {}


async def test_generate_tells_the_provider_of_the_form(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    given = prompt()
    given = replace(given, request=replace(given.request, output=schema_output(CLOSED)))
    await collected(make_generator().generate(given))
    await collected(make_generator().generate(prompt()))
    asked, plain = server.bodies
    assert asked["response_format"]["json_schema"]["schema"] == CLOSED
    assert "response_format" not in plain
