from __future__ import annotations

from typing import Any

import pytest

from rag.v1 import generate_service_pb2, options_pb2
from rag.v1.output_format_pb2 import OutputChoice, OutputFormat
from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, RegexOutput
from rag_server.services.wire.output import from_output
from rag_server.services.wire.query import from_question
from rag_server.validation import validate


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (OutputFormat(json_schema="{}"), JsonSchemaOutput("{}")),
        (OutputFormat(regex="a"), RegexOutput("a")),
        (OutputFormat(choice=OutputChoice(values=["a", "b"])), ChoiceOutput(("a", "b"))),
    ],
)
def test_output_of_each_kind_is_read(message: OutputFormat, expected: Any) -> None:
    assert from_output(message) == expected
    generation = options_pb2.GenerationOptions(output=message)
    assert from_question(generate_service_pb2.GenerateRequest(generation=generation)).output == expected


def test_question_without_an_output_has_none() -> None:
    generation = options_pb2.GenerationOptions()
    assert from_question(generate_service_pb2.GenerateRequest(generation=generation)).output is None


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        (["Yes", "No"], []),
        (["Yes", "yes."], ["values[1]"]),
        (["Yes", " ... "], ["values[1]"]),
    ],
)
def test_choices_can_be_told_apart(values: list[str], paths: list[str]) -> None:
    assert [violation.field for violation in validate(OutputChoice(values=values))] == paths
