"""Metadata values and fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from rag.v1 import metadata_pb2 as pb
from rag_server.domain.metadata import Metadata, MetadataType, MetadataValue

_TYPES_TO_PROTO: dict[MetadataType, pb.MetadataType.ValueType] = {
    MetadataType.STRING: pb.METADATA_TYPE_STRING,
    MetadataType.INTEGER: pb.METADATA_TYPE_INTEGER,
    MetadataType.DOUBLE: pb.METADATA_TYPE_DOUBLE,
    MetadataType.BOOLEAN: pb.METADATA_TYPE_BOOLEAN,
    MetadataType.TIMESTAMP: pb.METADATA_TYPE_TIMESTAMP,
    MetadataType.STRING_LIST: pb.METADATA_TYPE_STRING_LIST,
}
_TYPES: dict[int, MetadataType] = {proto: domain for domain, proto in _TYPES_TO_PROTO.items()}


def to_timestamp(moment: datetime) -> Timestamp:
    """Return `moment`, which is timezone-aware, as a protobuf timestamp."""
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def from_value(value: pb.MetadataValue) -> MetadataValue:
    """Return the domain value of a validated `value`."""
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "integer_value":
            return value.integer_value
        case "double_value":
            return value.double_value
        case "boolean_value":
            return value.boolean_value
        case "timestamp_value":
            return value.timestamp_value.ToDatetime(tzinfo=UTC)
        case _:
            return tuple(value.string_list_value.values)


def to_value(value: MetadataValue) -> pb.MetadataValue:
    """Return the message of a domain value."""
    match value:
        case bool():  # before int: bool is a subclass of it
            return pb.MetadataValue(boolean_value=value)
        case int():
            return pb.MetadataValue(integer_value=value)
        case float():
            return pb.MetadataValue(double_value=value)
        case str():
            return pb.MetadataValue(string_value=value)
        case datetime():
            return pb.MetadataValue(timestamp_value=to_timestamp(value))
        case _:
            return pb.MetadataValue(string_list_value=pb.StringList(values=value))


def from_map(values: Mapping[str, pb.MetadataValue]) -> Metadata:
    """Return a document's metadata."""
    return {name: from_value(value) for name, value in values.items()}


def from_type(kind: int) -> MetadataType:
    """Return the type that a caller names; an unspecified one was refused before."""
    return _TYPES[kind]


def from_fields(fields: Iterable[pb.MetadataField]) -> dict[str, MetadataType]:
    """Return declared fields by name."""
    return {field.name: _TYPES[field.type] for field in fields}


def to_fields(fields: Mapping[str, MetadataType]) -> list[pb.MetadataField]:
    """Return fields as messages, ordered by name."""
    return [pb.MetadataField(name=name, type=_TYPES_TO_PROTO[fields[name]]) for name in sorted(fields)]
