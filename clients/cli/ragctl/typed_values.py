"""Metadata values on the command line: `key=value` with a type, and what a filter compares with."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from rag.v1.metadata_pb2 import MetadataValue, StringList

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.?[0-9]+)([eE][+-]?[0-9]+)?")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(Z|[+-][0-9]{2}:?[0-9]{2})?)?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def _string(text: str) -> MetadataValue:
    return MetadataValue(string_value=text)


def _integer(text: str) -> MetadataValue:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{text!r} is not an integer")
    value = int(text)
    if not INT64_MIN <= value <= INT64_MAX:
        raise ValueError(f"{text} does not fit a signed 64-bit integer")
    return MetadataValue(integer_value=value)


def _double(text: str) -> MetadataValue:
    if not _DECIMAL.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"{text!r} is not a finite number")
    return MetadataValue(double_value=float(text))


def _boolean(text: str) -> MetadataValue:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"{text!r} is not true or false")
    return MetadataValue(boolean_value=_BOOLEANS[text.lower()])


def _time(text: str) -> MetadataValue:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is not a date or time as in 2026-01-31 or 2026-01-31T09:30:00Z"
        ) from error
    value = MetadataValue()
    value.timestamp_value.FromDatetime(instant.replace(tzinfo=instant.tzinfo or UTC))
    return value


def _list(text: str) -> MetadataValue:
    return MetadataValue(string_list_value=StringList(values=[each.strip() for each in text.split(",")]))


TYPES: dict[str, Callable[[str], MetadataValue]] = {
    "str": _string,
    "int": _integer,
    "float": _double,
    "bool": _boolean,
    "time": _time,
    "list": _list,
}


def typed(type_name: str, text: str) -> MetadataValue:
    """Return `text` as a value of the named type; a time without a zone is UTC.

    Raises:
        ValueError: There is no such type, or the text is none of it.
    """
    if type_name not in TYPES:
        raise ValueError(f"no type {type_name!r}: there are {', '.join(TYPES)}")
    return TYPES[type_name](text)


def guessed(text: str) -> MetadataValue:
    """Return `text` as what it looks like: quoted is a string, then integer, number, boolean, time, string.

    Raises:
        ValueError: A quote is not closed, or an integer is too large.
    """
    if text[:1] in ("'", '"'):
        if len(text) < 2 or text[-1] != text[0]:  # noqa: PLR2004 - an opening and a closing quote
            raise ValueError(f"{text}: the quote is not closed")
        return _string(text[1:-1])
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _DECIMAL.fullmatch(text):
        return _double(text)
    if text in ("true", "false"):
        return _boolean(text)
    if _INSTANT.fullmatch(text):
        return _time(text)
    return _string(text)


def metadata(pairs: Iterable[str]) -> dict[str, MetadataValue]:
    """Return the metadata of `--meta key=value` and `--meta key:type=value` options.

    Raises:
        ValueError: One of them is not of that form, or a key is given twice.
    """
    values: dict[str, MetadataValue] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        key, colon, type_name = name.partition(":")
        if not equals or not KEY.fullmatch(key):
            raise ValueError(f"{pair!r} is not key=value or key:type=value with a key like `price`")
        if key in values:
            raise ValueError(f"the key {key!r} is given twice")
        values[key] = typed(type_name, text) if colon else _string(text)
    return values


def shown(value: MetadataValue) -> str:
    """Return a value for people."""
    match value.WhichOneof("kind"):
        case "boolean_value":
            return "true" if value.boolean_value else "false"
        case "timestamp_value":
            return value.timestamp_value.ToDatetime(UTC).isoformat()
        case "string_list_value":
            return ", ".join(value.string_list_value.values)
        case None:
            return ""
        case plain:
            return str(getattr(value, plain))
