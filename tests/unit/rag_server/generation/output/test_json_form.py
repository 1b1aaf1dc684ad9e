from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.generation.output.form import FormError, FormUnusable
from rag_server.generation.output.json_form import JsonForm

PERSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"$ref": "#/$defs/age"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}


def form(schema: Any) -> JsonForm:
    return JsonForm(schema if isinstance(schema, str) else json.dumps(schema))


def same(text: str) -> str:
    return text


def unlinked(text: str) -> str:
    return text.replace("http://evil", "")


def problem(schema: Any) -> str:
    with pytest.raises(FormUnusable) as caught:
        form(schema)
    assert (caught.value.member, caught.value.reason) == ("json_schema", "OUTPUT_SCHEMA_INVALID")
    return caught.value.problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "Ana",  "age": 3}', '{"name": "Ana",  "age": 3}'),
        ('\n{"name": "Ana"}\n', '{"name": "Ana"}'),
        ('```json\n{"name": "Ana"}\n```', '{"name": "Ana"}'),
        ('```json\r\n{"name": "Ana"}\r\n```\r\n', '{"name": "Ana"}'),
        ('{"name": "\\u0041n\\u00ed"}', '{"name": "Aní"}'),
        ('{"name": "A\\ud800"}', '{"name": "A?"}'),
    ],
)
def test_accept_json_that_the_schema_describes_gives_it_bare(text: str, expected: str) -> None:
    assert form(PERSON).accept(text, same) == expected
    assert form(PERSON).holds(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not JSON"),
        ("Sure! {}", "not JSON"),
        ('{"name": NaN}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("9" * 5000, "not JSON"),
        ('{"name": "Ana", "age": 1e999}', "number beyond"),
        ('{"name": "http://evil", "name": "Ana"}', "a member twice"),
        ("{}", "'required'"),
        ('{"name": "Ana", "age": -1}', "at $.age it breaks the schema's 'minimum'"),
        ('{"name": "ana"}', "'pattern'"),
        ('{"name": "Ana", "hunter2": 1}', "at $ it breaks the schema's 'additionalProperties'"),
    ],
)
def test_accept_anything_else_says_where_it_is_wrong(text: str, expected: str) -> None:
    with pytest.raises(FormError) as caught:
        form(PERSON).accept(text, same)
    assert expected in str(caught.value)
    assert not form(PERSON).holds(text)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ("nonsense", "not JSON"),
        ("[" * 16_000, "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ('{"maximum": -1e999}', "number beyond"),
        ('{"items": {"type": "string", "type": "null"}}', "a member twice"),
        ('{"const": "\\ud800"}', "surrogate"),
        ('{"properties": {"\\udfff": {}}}', "surrogate"),
        ([], "not a JSON object"),
        ({"type": "nonsense"}, "no JSON Schema"),
        ({"properties": {"a": {"minLength": -1}}}, "$.properties.a.minLength"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "dialect"),
        ({"items": {"$schema": "http://json-schema.org/draft-07/schema#"}}, "not at its top"),
        ({"$ref": "http://169.254.169.254/schema.json"}, "nothing is fetched"),
        ({"$ref": "file:///etc/passwd"}, "nothing is fetched"),
        ({"items": {"$dynamicRef": "other.json"}}, "nothing is fetched"),
        ({"$ref": "#/$defs/absent"}, "not in it"),
        ({"pattern": "(?=a)"}, "RE2"),
        ({"patternProperties": {"(": {}}}, "RE2"),
        ({"pattern": "(a{1000}){1000}"}, "RE2"),
        ({"$ref": "#"}, "without end"),
        ({"unevaluatedProperties": False, "patternProperties": {"a": {}}}, "not supported"),
    ],
)
def test_schema_that_cannot_be_used_is_refused_with_the_cause(schema: Any, expected: str) -> None:
    assert expected in problem(schema)


def test_schema_whose_references_multiply_is_refused_within_bounds() -> None:
    twice = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)}
    assert "too long" in problem({"$defs": {**twice, "a40": {}}, "$ref": "#/$defs/a0"})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 5000 + "b"),
        ({"patternProperties": {"^(a+)+$": False}, "additionalProperties": False}, {"a" * 5000 + "b": 1}),
        ({"uniqueItems": True}, [*({"a": i} for i in range(5000)), {"a": 0}]),
    ],
)
def test_value_that_would_hold_up_other_validators_is_judged_at_once(schema: Any, value: Any) -> None:
    with pytest.raises(FormError):
        form(schema).accept(json.dumps(value), same)


@pytest.mark.parametrize(
    ("items", "is_unique"),
    [
        ("[1, 1.0]", False),
        ("[1, true]", True),
        ('[{"a": 1, "b": 2}, {"b": 2, "a": 1}]', False),
        ('["1", 1]', True),
        ("[[1], [1.5]]", True),
    ],
)
def test_unique_items_are_told_apart_as_json_values(items: str, is_unique: bool) -> None:
    assert form({"uniqueItems": True}).holds(items) is is_unique


def test_accept_with_a_link_of_the_models_own_takes_it_out_and_checks_again() -> None:
    answer = '{"a": ["see http://evil", 1], "b": "ok"}'
    assert form({}).accept(answer, unlinked) == '{"a": ["see ", 1], "b": "ok"}'
    with pytest.raises(FormError, match="minLength"):
        form({"minLength": 3}).accept('"http://evil"', unlinked)
    with pytest.raises(FormError, match="name of a member"):
        form({}).accept('{"http://evil": 1}', unlinked)


def test_claims_are_the_strings_that_are_values_in_their_places() -> None:
    answer = '{"a \\" :": "one \\"two\\"", "b": ["three", {"c" : 4}, "cinco ñ"]}'
    claims = form({}).claims(answer)
    assert [text for _, text in claims] == ['one "two"', "three", "cinco ñ"]
    assert [answer[span.start : span.end] for span, _ in claims] == ['one \\"two\\"', "three", "cinco ñ"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_accept_keeps_any_value_as_it_is(value: Any) -> None:
    text = json.dumps(value)
    accepted = form({}).accept(text, same)
    assert json.loads(accepted) == value
    accepted.encode()
    strings = form({}).claims(accepted)
    assert all(json.loads(f'"{accepted[span.start : span.end]}"') == said for span, said in strings)
