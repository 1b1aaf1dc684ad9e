"""Makes forms, and keeps those that were asked for lately: a schema takes some time to read."""

from __future__ import annotations

from functools import lru_cache

from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, OutputFormat, RegexOutput
from rag_server.errors import InvalidArgument
from rag_server.generation.output.choice_form import ChoiceForm
from rag_server.generation.output.form import Form, FormUnusable
from rag_server.generation.output.json_form import JsonForm
from rag_server.generation.output.regex_form import RegexForm

KEPT = 64
"""Forms, each with a text of at most 16 KiB behind it."""


@lru_cache(maxsize=KEPT)
def form_of(output: OutputFormat) -> Form:
    """Return what checks answers for `output`. Blocks.

    Raises:
        InvalidArgument: `OUTPUT_SCHEMA_INVALID` or `OUTPUT_REGEX_INVALID`, naming the field.
    """
    try:
        match output:
            case JsonSchemaOutput(schema):
                return JsonForm(schema)
            case RegexOutput(pattern):
                return RegexForm(pattern)
            case ChoiceOutput(choices):
                return ChoiceForm(choices)
    except FormUnusable as unusable:
        raise InvalidArgument.for_field(
            f"generation.output.{unusable.member}", unusable.problem, reason=unusable.reason
        ) from None
