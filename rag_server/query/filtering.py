"""Checks a filter against what the collections know, before any engine sees it."""

from __future__ import annotations

from collections.abc import Sequence

from rag_server.domain.collection import Collection
from rag_server.domain.filter import (
    SYSTEM_FIELDS,
    Bool,
    Comparison,
    Exists,
    Filter,
    Membership,
    Operator,
    Prefix,
    Range,
)
from rag_server.domain.metadata import MetadataType, MetadataValue, accepts, type_of
from rag_server.errors import FieldViolation, InvalidArgument

_SHOWN_FIELDS = 20
METADATA_PREFIX = "metadata."
ORDERED = frozenset({MetadataType.INTEGER, MetadataType.DOUBLE, MetadataType.TIMESTAMP})
_EQUALITY = frozenset({Operator.EQUAL, Operator.NOT_EQUAL})


def check_filter(filter: Filter, collections: Sequence[Collection], *, path: str) -> None:
    """Raise `InvalidArgument` for a field that no collection knows, or a value that its field cannot have.

    `path` is where the filter stands in the request; violations name what is below it.

    Reasons: `UNKNOWN_FILTER_FIELD`, `FILTER_TYPE_MISMATCH`. A field that only some of the collections know
    is allowed: documents of the others simply lack it.
    """
    _Checker(collections).visit(filter, path)


class _Checker:
    def __init__(self, collections: Sequence[Collection]) -> None:
        self._known: dict[str, set[MetadataType]] = {name: {MetadataType.STRING} for name in SYSTEM_FIELDS}
        for collection in collections:
            for name, field_type in collection.metadata_fields.items():
                self._known.setdefault(METADATA_PREFIX + name, set()).add(field_type)

    def visit(self, node: Filter, path: str) -> None:
        """Check `node` and what is below it; the depth was bounded when the request was validated."""
        match node:
            case Bool(must, should, must_not):
                for name, children in (("must", must), ("should", should), ("must_not", must_not)):
                    for index, child in enumerate(children):
                        self.visit(child, f"{path}.boolean.{name}[{index}]")
            case Comparison(field, operator, value):
                types = self._types(field, f"{path}.comparison.field")
                if isinstance(value, tuple):
                    raise _mismatch(f"{path}.comparison.value", "lists are not compared: use a membership")
                self._check_value(types, field, value, f"{path}.comparison.value")
                if operator not in _EQUALITY:
                    self._check_ordered(types, field, f"{path}.comparison.operator")
            case Membership(field, values):
                types = self._types(field, f"{path}.membership.field")
                for index, value in enumerate(values):
                    self._check_member(types, field, value, f"{path}.membership.values[{index}]")
            case Range():
                self._check_range(node, f"{path}.range")
            case Exists(field):
                self._types(field, f"{path}.exists.field")
            case Prefix(field):
                if MetadataType.STRING not in self._types(field, f"{path}.prefix.field"):
                    raise _mismatch(f"{path}.prefix.field", f"{field!r} is not a string field")

    def _check_range(self, node: Range, path: str) -> None:
        types = self._types(node.field, f"{path}.field")
        self._check_ordered(types, node.field, f"{path}.field")
        for name in ("greater_than", "greater_or_equal", "less_than", "less_or_equal"):
            bound = getattr(node, name)
            if bound is not None:
                self._check_value(types, node.field, bound, f"{path}.{name}")

    def _types(self, field: str, path: str) -> set[MetadataType]:
        types = self._known.get(field)
        if types is None:
            known = ", ".join(sorted(self._known)[:_SHOWN_FIELDS])
            raise InvalidArgument(
                "UNKNOWN_FILTER_FIELD",
                f"{path}: no field {field!r}; known are {known}",
                metadata={"field": field},
                violations=[FieldViolation(path, "unknown field")],
            )
        return types

    def _check_value(self, types: set[MetadataType], field: str, value: MetadataValue, path: str) -> None:
        if not any(accepts(declared, value) or _is_numeric_pair(declared, value) for declared in types):
            raise _mismatch(path, f"{field!r} is {_names(types)}, not {type_of(value)}")

    def _check_member(self, types: set[MetadataType], field: str, value: MetadataValue, path: str) -> None:
        if MetadataType.STRING_LIST in types and isinstance(value, str):
            return
        self._check_value(types, field, value, path)

    def _check_ordered(self, types: set[MetadataType], field: str, path: str) -> None:
        if types.isdisjoint(ORDERED):
            raise _mismatch(path, f"{field!r} is {_names(types)}: only numbers and timestamps have an order")


def _is_numeric_pair(declared: MetadataType, value: MetadataValue) -> bool:
    """Whether `value` is a double asked of an integer field: `price < 9.5` has a clear meaning."""
    return declared is MetadataType.INTEGER and isinstance(value, float)


def _names(types: set[MetadataType]) -> str:
    return " or ".join(sorted(types))


def _mismatch(path: str, description: str) -> InvalidArgument:
    return InvalidArgument.for_field(path, description, reason="FILTER_TYPE_MISMATCH")
