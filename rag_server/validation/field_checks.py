"""What can be wrong with one scalar value: the constraints of its field and what holds everywhere.

For every message alike: a float is finite, an enum has a known value (in a list, not UNSPECIFIED),
a string holds no U+0000 unless its field is `Content`, a timestamp lies in the years 1 to 9999.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from rag_server.validation.constraint import Constraint, Content, Length, Pattern, Range, Size

Problem = Callable[[Any], str | None]
"""Says what is wrong with a value that is set, or None."""

_FLOATS: Final = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_MIN_SECONDS: Final = -62_135_596_800
_MAX_SECONDS: Final = 253_402_300_799
_MAX_NANOS: Final = 999_999_999
_C = TypeVar("_C")


def problem_of(field: FieldDescriptor, constraints: Sequence[Constraint]) -> Problem | None:
    """Return the check of one value, or one item, of a scalar field; None when nothing can be wrong."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string_problem(constraints)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes_problem(first_of(Size, constraints))
    if field.enum_type is not None:
        return _enum_problem(field.enum_type.values_by_number, is_item=field.is_repeated)
    bounds = first_of(Range, constraints)
    if field.cpp_type in _FLOATS:
        return _float_problem(bounds)
    return _integer_problem(bounds) if bounds else None


def timestamp_problem(value: Timestamp) -> str | None:
    """Return what is wrong with a timestamp, see timestamp.proto."""
    if not _MIN_SECONDS <= value.seconds <= _MAX_SECONDS:
        return "must lie in the years 1 to 9999"
    if not 0 <= value.nanos <= _MAX_NANOS:
        return f"nanos must be from 0 to {_MAX_NANOS}"
    return None


def first_of(kind: type[_C], constraints: Sequence[Constraint]) -> _C | None:
    """Return the constraint of the given kind, if there is one."""
    return next((constraint for constraint in constraints if isinstance(constraint, kind)), None)


def _string_problem(constraints: Sequence[Constraint]) -> Problem:
    length = first_of(Length, constraints)
    low, high = (length.low, length.high) if length else (0, None)
    stated = first_of(Pattern, constraints)
    pattern = re.compile(stated.regex) if stated else None
    takes_nul = first_of(Content, constraints) is not None

    def problem(value: str) -> str | None:
        count = len(value)
        if count < low or (high is not None and count > high):
            return f"has {count} code points, must have {low} to {high}"
        if not takes_nul and "\0" in value:
            return "must not hold U+0000"
        # An empty string is an absent one, except in a oneof or a list, where no pattern stands.
        if pattern is not None and not pattern.fullmatch(value):
            return f"must match {pattern.pattern}"
        return None

    return problem


def _bytes_problem(size: Size | None) -> Problem | None:
    if size is None:
        return None

    def problem(value: bytes) -> str | None:
        if size.low <= len(value) <= size.high:
            return None
        return f"has {len(value)} bytes, must have {size.low} to {size.high}"

    return problem


def _enum_problem(numbers: Iterable[int], *, is_item: bool) -> Problem:
    known = frozenset(numbers) - ({0} if is_item else set())

    def problem(value: int) -> str | None:
        return None if value in known else f"{value} is not a value that can be given"

    return problem


def _integer_problem(bounds: Range) -> Problem:
    def problem(value: int) -> str | None:
        if bounds.low <= value <= bounds.high:
            return None
        return f"must be from {bounds.low} to {bounds.high}"

    return problem


def _float_problem(bounds: Range | None) -> Problem:
    def problem(value: float) -> str | None:
        if not math.isfinite(value):
            return "must be a finite number"
        if bounds is None or bounds.low <= value <= bounds.high:
            return None
        return f"must be from {bounds.low} to {bounds.high}"

    return problem
