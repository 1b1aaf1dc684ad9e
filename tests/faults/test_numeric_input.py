"""B3: NaN, infinity, zero, negative and enormous values in every numeric field that a request can hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from rag_server.validation.constraint import Range
from rag_server.validation.rules import FIELD_RULES
from tests.faults.wire import Method, methods, send
from tests.rag_client import RagClient, failure_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

_FLOATS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
_WIDTH = {FieldDescriptor.CPPTYPE_INT32: 31, FieldDescriptor.CPPTYPE_INT64: 63}
_ENDS = [math.nan, math.inf, -math.inf]
_HOSTILE = [*_ENDS, 1e308, -1e308, -1.0, 5e-324, -0.0]
_FINAL_CODES = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}

Place = tuple[FieldDescriptor, ...]
"""The fields from the request down to a number."""


def numbers_of(message: Descriptor, seen: frozenset[str] = frozenset()) -> Iterator[Place]:
    """Yield the place of each number in `message`; a message inside itself is entered once."""
    if message.full_name in seen:
        return
    for field in message.fields:
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for rest in numbers_of(field.message_type, seen | {message.full_name}):
                yield field, *rest
        elif field.message_type is not None:
            value = field.message_type.fields_by_name["value"]
            if value.message_type is not None:
                for rest in numbers_of(value.message_type, seen | {message.full_name}):
                    yield field, *rest
        elif field.cpp_type in _FLOATS or field.cpp_type in _WIDTH:
            yield (field,)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def request_with(method: Method, place: Place, value: float) -> tuple[Message, str]:
    """Return a request with nothing but `value` at `place`, and the path of the field."""
    request = method.new_request()
    message: Any = request
    path = []
    for field in place[:-1]:
        inner = getattr(message, field.name)
        if is_map(field):
            message = inner["key"]
            path.append(f"{field.name}.key")
        elif field.is_repeated:
            message = inner.add()
            path.append(f"{field.name}[0]")
        else:
            inner.SetInParent()
            message = inner
            path.append(field.name)
    setattr(message, place[-1].name, value)
    return request, ".".join([*path, place[-1].name])


def range_of(field: FieldDescriptor) -> Range | None:
    rules = FIELD_RULES.get(field.containing_type.full_name, {}).get(field.name, ())
    return next((rule for rule in rules if isinstance(rule, Range)), None)


def outside(field: FieldDescriptor) -> list[float]:
    """Return values that the field must refuse."""
    bounds = range_of(field)
    if field.cpp_type in _FLOATS:
        values: list[float] = [*_ENDS]
        return values if bounds is None else [*values, bounds.low - 1e-9, bounds.high + 1e-9, 1e308, -1e308]
    if bounds is None:
        return []
    end = 2 ** _WIDTH[field.cpp_type]
    candidates = [0, -1, 1_000_000_000, -end, end - 1, int(bounds.low) - 1, int(bounds.high) + 1]
    return [value for value in candidates if not bounds.low <= value <= bounds.high]


CASES = [(method, place) for method in methods() for place in numbers_of(method.request)]


def name_of(case: object) -> str:
    return ".".join(field.name for field in case) if isinstance(case, tuple) else str(case)


@pytest.mark.parametrize(("method", "place"), CASES, ids=name_of)
async def test_number_outside_its_range_is_refused_by_its_path(
    client: RagClient, method: Method, place: Place
) -> None:
    for value in outside(place[-1]):
        request, path = request_with(method, place, value)

        error = await send(client.channel, method, request.SerializeToString())

        assert error is not None
        found = failure_of(error)
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT
        assert path in found.violations, (value, found.violations)


@pytest.mark.parametrize(("method", "place"), CASES, ids=name_of)
async def test_hostile_number_never_breaks_a_handler(client: RagClient, method: Method, place: Place) -> None:
    field = place[-1]
    end = 2 ** _WIDTH.get(field.cpp_type, 0)
    for value in _HOSTILE if field.cpp_type in _FLOATS else [0, -1, 1_000_000_000, -end, end - 1]:
        request, _ = request_with(method, place, value)

        error = await send(client.channel, method, request.SerializeToString())

        assert error is None or error.code() in _FINAL_CODES, (value, error.details())
