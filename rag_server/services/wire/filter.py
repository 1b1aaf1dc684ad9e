"""The filter tree."""

from __future__ import annotations

from rag.v1 import filter_pb2 as pb
from rag_server.domain.filter import (
    Bool,
    Comparison,
    Exists,
    Filter,
    Membership,
    Operator,
    Prefix,
    Range,
)
from rag_server.services.wire.metadata import from_value

_OPERATORS = {
    pb.COMPARISON_OPERATOR_EQUAL: Operator.EQUAL,
    pb.COMPARISON_OPERATOR_NOT_EQUAL: Operator.NOT_EQUAL,
    pb.COMPARISON_OPERATOR_LESS: Operator.LESS,
    pb.COMPARISON_OPERATOR_LESS_OR_EQUAL: Operator.LESS_OR_EQUAL,
    pb.COMPARISON_OPERATOR_GREATER: Operator.GREATER,
    pb.COMPARISON_OPERATOR_GREATER_OR_EQUAL: Operator.GREATER_OR_EQUAL,
}
_BOUNDS = ("greater_than", "greater_or_equal", "less_than", "less_or_equal")


def from_filter(message: pb.Filter) -> Filter:
    """Return the tree of a validated message, whose depth is bounded."""
    match message.WhichOneof("kind"):
        case "boolean":
            node = message.boolean
            return Bool(
                must=tuple(from_filter(child) for child in node.must),
                should=tuple(from_filter(child) for child in node.should),
                must_not=tuple(from_filter(child) for child in node.must_not),
            )
        case "comparison":
            comparison = message.comparison
            return Comparison(comparison.field, _OPERATORS[comparison.operator], from_value(comparison.value))
        case "membership":
            values = tuple(from_value(value) for value in message.membership.values)
            return Membership(message.membership.field, values)
        case "range":
            bounds = {each.name: value for each, value in message.range.ListFields() if each.name in _BOUNDS}
            return Range(message.range.field, **{name: from_value(value) for name, value in bounds.items()})
        case "exists":
            return Exists(message.exists.field)
        case _:
            return Prefix(message.prefix.field, message.prefix.prefix)
