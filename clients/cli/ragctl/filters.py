"""Filters on the command line, parsed into the contract's syntax tree.

    price<500        price>=10.5      year=2026        published>2026-01-31
    category=laptops category!=phones code='123'       in_stock=true
    brand in acme,'b, c'              source_uri^=docs/         price?

`field:type` forces a type (`code:str=123`, `since:time<2026`). `^=` asks for a prefix, `?` whether the field
exists. `document_id`, `media_type` and `source_uri` are the document's, any other name is one of its
metadata. A text that starts with `{` is the JSON form of `rag.v1.Filter`. Several filters all have to match.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from google.protobuf import json_format

from rag.v1.filter_pb2 import (
    BooleanFilter,
    ComparisonFilter,
    ComparisonOperator,
    ExistsFilter,
    Filter,
    MembershipFilter,
    PrefixFilter,
)
from rag.v1.metadata_pb2 import MetadataValue
from ragctl.typed_values import guessed, typed

DOCUMENT_FIELDS = frozenset({"document_id", "media_type", "source_uri"})

_OPERATORS = {
    "=": ComparisonOperator.COMPARISON_OPERATOR_EQUAL,
    "==": ComparisonOperator.COMPARISON_OPERATOR_EQUAL,
    "!=": ComparisonOperator.COMPARISON_OPERATOR_NOT_EQUAL,
    "<": ComparisonOperator.COMPARISON_OPERATOR_LESS,
    "<=": ComparisonOperator.COMPARISON_OPERATOR_LESS_OR_EQUAL,
    ">": ComparisonOperator.COMPARISON_OPERATOR_GREATER,
    ">=": ComparisonOperator.COMPARISON_OPERATOR_GREATER_OR_EQUAL,
}
_EXPRESSION = re.compile(
    r"""\s*(?P<field>[A-Za-z_][A-Za-z0-9_.]*)(:(?P<type>[a-z]+))?
        (\s*(?P<exists>\?)\s* | (\s*(?P<operator>[<>!=^]=|[<>=])|\s+(?P<membership>in)\s)\s*(?P<value>.*))""",
    re.VERBOSE | re.DOTALL,
)
_ITEM = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,'"]*?)\s*(,|$)""")


def parse_filters(texts: Sequence[str]) -> Filter | None:
    """Return the filter that all of `texts` make, None without any.

    Raises:
        ValueError: One of them is neither an expression nor the JSON of a filter.
    """
    parsed = [parse_filter(text) for text in texts]
    if not parsed:
        return None
    return parsed[0] if len(parsed) == 1 else Filter(boolean=BooleanFilter(must=parsed))


def parse_filter(text: str) -> Filter:
    """Return the filter of one expression or JSON text.

    Raises:
        ValueError: It is neither.
    """
    if text.lstrip().startswith("{"):
        try:
            return json_format.Parse(text, Filter())
        except json_format.ParseError as error:
            raise ValueError(f"not the JSON of a filter: {error}") from error
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a filter such as price<500, category=laptops or brand in a,b")
    field = _qualified(match["field"])
    if match["exists"]:
        return Filter(exists=ExistsFilter(field=field))
    type_name = match["type"] or ("str" if field in DOCUMENT_FIELDS else "")
    if match["membership"]:
        values = [_value(type_name, item) for item in _items(match["value"])]
        return Filter(membership=MembershipFilter(field=field, values=values))
    value = match["value"].strip()
    if not value:
        raise ValueError(f"{text!r} has no value; the empty string is ''")
    if match["operator"] == "^=":
        return Filter(prefix=PrefixFilter(field=field, prefix=_unquoted(value)))
    return Filter(
        comparison=ComparisonFilter(
            field=field, operator=_OPERATORS[match["operator"]], value=_value(type_name, value)
        )
    )


def _qualified(name: str) -> str:
    return name if name in DOCUMENT_FIELDS or name.startswith("metadata.") else f"metadata.{name}"


def _unquoted(text: str) -> str:
    return guessed(text).string_value if text[:1] in ("'", '"') else text


def _value(type_name: str, text: str) -> MetadataValue:
    return typed(type_name, _unquoted(text)) if type_name else guessed(text)


def _items(text: str) -> list[str]:
    """Return the items of a comma-separated list, quotes kept; brackets around it are allowed."""
    inner = text.strip()
    if (inner[:1], inner[-1:]) in {("[", "]"), ("(", ")")}:
        inner = inner[1:-1]
    items: list[str] = []
    position = 0
    while position <= len(inner):
        match = _ITEM.match(inner, position)
        if match is None or not match[1]:
            raise ValueError(f"{text!r} is not a list such as a,b or 'a','b'")
        items.append(match[1])
        if not match[2]:
            break
        position = match.end()
    return items
