"""What a filter means, in the plainest Python: engines are tested against this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from operator import eq, ge, gt, le, lt, ne
from typing import Any

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
from rag_server.domain.metadata import MetadataValue

_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: eq,
    Operator.NOT_EQUAL: ne,
    Operator.LESS: lt,
    Operator.LESS_OR_EQUAL: le,
    Operator.GREATER: gt,
    Operator.GREATER_OR_EQUAL: ge,
}


def matches(filter: Filter, system: Mapping[str, str], metadata: Mapping[str, MetadataValue]) -> bool:
    """Whether a document passes `filter`.

    Args:
        filter: The filter.
        system: Values of `SYSTEM_FIELDS`.
        metadata: The document's metadata; a field that it lacks matches nothing but a `must_not`.
    """
    match filter:
        case Bool(must, should, must_not):
            return (
                all(matches(child, system, metadata) for child in must)
                and (not should or any(matches(child, system, metadata) for child in should))
                and not any(matches(child, system, metadata) for child in must_not)
            )
        case Exists(field):
            return _value(field, system, metadata) is not None
        case Comparison(field, operator, value):
            return _compare(_value(field, system, metadata), operator, value)
        case Membership(field, values):
            found = _value(field, system, metadata)
            own = found if isinstance(found, tuple) else (found,)
            return any(_compare(mine, Operator.EQUAL, value) for mine in own for value in values)
        case Range(field):
            found = _value(field, system, metadata)
            bounds = (
                (Operator.GREATER, filter.greater_than),
                (Operator.GREATER_OR_EQUAL, filter.greater_or_equal),
                (Operator.LESS, filter.less_than),
                (Operator.LESS_OR_EQUAL, filter.less_or_equal),
            )
            return all(_compare(found, operator, bound) for operator, bound in bounds if bound is not None)
        case Prefix(field, prefix):
            found = _value(field, system, metadata)
            return isinstance(found, str) and found.startswith(prefix)


def _value(
    field: str, system: Mapping[str, str], metadata: Mapping[str, MetadataValue]
) -> MetadataValue | None:
    if field in SYSTEM_FIELDS:
        return system[field]
    return metadata.get(field.removeprefix("metadata."))


def _kind(value: object) -> type:
    """Return what a value may be compared with: numbers with numbers, the rest with its own type."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float
    return datetime if isinstance(value, datetime) else type(value)


def _compare(found: MetadataValue | None, operator: Operator, value: MetadataValue) -> bool:
    if found is None or isinstance(found, tuple) or _kind(found) is not _kind(value):
        return False
    return bool(_COMPARE[operator](found, value))
