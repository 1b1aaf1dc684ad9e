from __future__ import annotations

import pytest
from google.protobuf import json_format

from ragctl.filters import parse_filter, parse_filters


def _as_dict(text: str) -> object:
    return json_format.MessageToDict(parse_filter(text), preserving_proto_field_name=True)


@pytest.mark.parametrize(
    ("text", "field", "operator", "value"),
    [
        ("price<500", "metadata.price", "LESS", {"integer_value": "500"}),
        ("price <= 10.5", "metadata.price", "LESS_OR_EQUAL", {"double_value": 10.5}),
        ("year>2020", "metadata.year", "GREATER", {"integer_value": "2020"}),
        ("year>=-3", "metadata.year", "GREATER_OR_EQUAL", {"integer_value": "-3"}),
        ("category=laptops", "metadata.category", "EQUAL", {"string_value": "laptops"}),
        ("category==laptops", "metadata.category", "EQUAL", {"string_value": "laptops"}),
        ("category!=a b", "metadata.category", "NOT_EQUAL", {"string_value": "a b"}),
        ("code='123'", "metadata.code", "EQUAL", {"string_value": "123"}),
        ("code:str=123", "metadata.code", "EQUAL", {"string_value": "123"}),
        ("ratio:float=2", "metadata.ratio", "EQUAL", {"double_value": 2.0}),
        ("in_stock=true", "metadata.in_stock", "EQUAL", {"boolean_value": True}),
        ("since>2026-01-31", "metadata.since", "GREATER", {"timestamp_value": "2026-01-31T00:00:00Z"}),
        ("media_type=2026", "media_type", "EQUAL", {"string_value": "2026"}),
        ("document_id=a=b<c", "document_id", "EQUAL", {"string_value": "a=b<c"}),
        ("metadata.price=1", "metadata.price", "EQUAL", {"integer_value": "1"}),
        ("name=''", "metadata.name", "EQUAL", {"string_value": ""}),
    ],
)
def test_filter_comparison_becomes_a_typed_node(text: str, field: str, operator: str, value: object) -> None:
    assert _as_dict(text) == {
        "comparison": {"field": field, "operator": f"COMPARISON_OPERATOR_{operator}", "value": value}
    }


def test_filter_prefix_and_existence_become_their_nodes() -> None:
    assert _as_dict("source_uri^=docs/") == {"prefix": {"field": "source_uri", "prefix": "docs/"}}
    assert _as_dict("code^='12'") == {"prefix": {"field": "metadata.code", "prefix": "12"}}
    assert _as_dict("price?") == {"exists": {"field": "metadata.price"}}


@pytest.mark.parametrize(
    "text", ["brand in acme,'b, c'", "brand in [acme, 'b, c']", "brand in (acme,'b, c')"]
)
def test_filter_membership_takes_a_list_with_quotes(text: str) -> None:
    values = [{"string_value": "acme"}, {"string_value": "b, c"}]
    assert _as_dict(text) == {"membership": {"field": "metadata.brand", "values": values}}


def test_filter_as_json_is_taken_as_it_is() -> None:
    assert _as_dict('{"exists": {"field": "metadata.x"}}') == {"exists": {"field": "metadata.x"}}


def test_filters_together_all_have_to_match() -> None:
    both = parse_filters(["a=1", "b=2"])
    assert both is not None
    assert [each.comparison.field for each in both.boolean.must] == ["metadata.a", "metadata.b"]
    assert parse_filters([]) is None
    single = parse_filters(["a=1"])
    assert single is not None
    assert single.HasField("comparison")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "price",
        "<500",
        "price<",
        "a='open",
        "a in",
        "a in x,,y",
        "a in x,",
        "a in 'x' 'y'",
        "a:color=red",
        "a:int=x",
        "a=99999999999999999999",
        '{"unknown": 1}',
        "{",
    ],
)
def test_filter_that_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_filter(text)
