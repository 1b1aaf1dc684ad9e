"""The form of an answer, as providers are told of it so that their engines keep to it.

JSON schemas go as OpenAI's `response_format`. For regular expressions and choices there is no common member:
vLLM servers take them as `structured_outputs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, OutputFormat, RegexOutput

EnforcedBy = Literal["json_schema", "vllm", "none"]
"""What the provider can be told of."""


def output_members(output: OutputFormat | None, enforced_by: EnforcedBy) -> dict[str, Any]:
    """Return the members of a request that stand for `output`; none where the prompt alone tells of it."""
    if enforced_by == "none":
        return {}
    match output:
        case JsonSchemaOutput(text):
            schema = json.loads(text)
            described = {"name": "answer", "schema": schema, "strict": _is_strict(schema)}
            return {"response_format": {"type": "json_schema", "json_schema": described}}
        case RegexOutput(pattern) if enforced_by == "vllm":
            return {"structured_outputs": {"regex": pattern}}
        case ChoiceOutput(choices) if enforced_by == "vllm":
            return {"structured_outputs": {"choice": list(choices)}}
        case _:
            return {}


def _is_strict(schema: Any) -> bool:
    """Whether OpenAI takes a schema to keep to strictly: its objects are closed and lack no member."""
    return schema.get("type") == "object" and all(
        each.get("additionalProperties") is False
        and sorted(map(str, _items(each.get("required")))) == sorted(_items(each.get("properties")))
        for each in _objects(schema)
    )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield what describes an object, wherever it stands."""
    if isinstance(value, dict):
        if value.get("type") == "object":
            yield value
        for each in value.values():
            yield from _objects(each)
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each)


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | dict) else ()
