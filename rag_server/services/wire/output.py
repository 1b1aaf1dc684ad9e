"""The form that an answer has to have, from its message."""

from __future__ import annotations

from rag.v1 import output_format_pb2
from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, OutputFormat, RegexOutput


def from_output(message: output_format_pb2.OutputFormat) -> OutputFormat:
    """Return a validated form."""
    match message.WhichOneof("format"):
        case "json_schema":
            return JsonSchemaOutput(message.json_schema)
        case "regex":
            return RegexOutput(message.regex)
        case _:
            return ChoiceOutput(tuple(message.choice.values))
