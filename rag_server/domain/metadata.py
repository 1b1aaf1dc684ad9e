"""Typed metadata: what a caller may attach to a document and filter by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum

MetadataValue = str | int | float | bool | datetime | tuple[str, ...]
"""One value. Integers are signed 64-bit, datetimes are timezone-aware UTC."""

Metadata = dict[str, MetadataValue]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MetadataType(StrEnum):
    """The type of a metadata field, fixed per collection by its first value or by declaration."""

    STRING = "string"
    INTEGER = "integer"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    STRING_LIST = "string_list"


def type_of(value: MetadataValue) -> MetadataType:
    """Return the `MetadataType` that `value` has."""
    match value:
        case bool():  # before int: bool is a subclass of it
            return MetadataType.BOOLEAN
        case int():
            return MetadataType.INTEGER
        case float():
            return MetadataType.DOUBLE
        case str():
            return MetadataType.STRING
        case datetime():
            return MetadataType.TIMESTAMP
        case _:
            return MetadataType.STRING_LIST


def accepts(declared: MetadataType, value: MetadataValue) -> bool:
    """Whether a field of type `declared` takes `value`; an integer is a valid double."""
    return accepts_type(declared, type_of(value))


def accepts_type(declared: MetadataType, actual: MetadataType) -> bool:
    """Whether a field of type `declared` takes values of type `actual`."""
    return actual is declared or (declared is MetadataType.DOUBLE and actual is MetadataType.INTEGER)


def timestamp_us(value: datetime) -> int:
    """Return an aware datetime as microseconds since 1970-01-01 UTC, exactly."""
    return (value - _EPOCH) // timedelta(microseconds=1)
