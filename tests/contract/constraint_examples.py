"""Messages just inside and just outside of each constraint, made from the table and descriptors."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

import rag.v1
from rag.v1 import (
    assistant_service_pb2,
    collection_service_pb2,
    conversation_service_pb2,
    filter_pb2,
    generate_service_pb2,
    records_pb2,
)
from rag_server.validation.constraint import (
    Constraint,
    Content,
    Default,
    Items,
    Length,
    OutputOnly,
    Pattern,
    Range,
    Required,
    Size,
)
from rag_server.validation.rules import FIELD_RULES, METADATA_KEY, SECRET_NAME

REQUEST_ID = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
_UUID = "01234567-89ab-cdef-0123-456789abcdef"

for _module in pkgutil.iter_modules(rag.v1.__path__, "rag.v1."):
    if _module.name.endswith("_service_pb2"):
        importlib.import_module(_module.name)  # which registers its messages in the pool

PATTERN_EXAMPLES: dict[str, tuple[list[str], list[str]]] = {
    REQUEST_ID: (
        [_UUID, _UUID.upper()],
        [_UUID[:-1], _UUID + "0", _UUID + "\n", _UUID.replace("-", ""), _UUID.replace("f", "g")],
    ),
    "[a-z][a-z0-9_-]{0,62}": (
        ["a", "z0_-", "a" + "9" * 62],
        ["A", "9a", "_a", "a b", "a.b", "a\n", "ñ", "a" + "9" * 63],
    ),
    "[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]{0,254}": (
        ["a", "Z", "0", "a._:/@+=-Z9", "a" * 255],
        [".a", "/a", "a b", "a\n", "ñ", "a" * 256],
    ),
    "[0-9a-f]{64}": (["0" * 64, "f" * 64], ["0" * 63, "0" * 65, "F" * 64, "g" * 64, "0" * 64 + "\n"]),
    SECRET_NAME: (["a", "_-9", "a" * 64], ["a.b", "a b", "a\n", "ñ", "a" * 65]),
    METADATA_KEY: (["a", "_", "Z_9", "a" * 64], ["9", "a-b", "a.b", "a\n", "ñ", "a" * 65]),
}
"""Strings that match and strings that do not, for each pattern of the contract."""

_PREFERRED_MEMBER = {"rag.v1.Filter.kind": "exists"}
"""The member to set in a required oneof where the first one would lead in a circle."""

_CONTEXT: dict[tuple[str, str], dict[str, Any]] = {
    ("rag.v1.CharacterChunking", "max_characters"): {"overlap_characters": 0},
    ("rag.v1.CharacterChunking", "overlap_characters"): {"max_characters": 8000},
    ("rag.v1.GenerateRequest", "request_id"): {"conversation_id": "x"},
    ("rag.v1.StreamGenerateRequest", "request_id"): {"conversation_id": "x"},
    ("rag.v1.StreamGenerateRequest", "resume_cursor"): {"resume_window_ms": 1000},
}
"""What else has to be set so that a field can take each value of its range."""

_LONGEST_WIDE_TEXT = 100_000
"""Longer texts are of one-byte characters, for the sake of memory."""


@dataclass(frozen=True)
class Case:
    """One constraint of one field or oneof."""

    message: str
    field: str
    constraint: Constraint

    def __str__(self) -> str:
        return f"{self.message}.{self.field}-{type(self.constraint).__name__}"

    @property
    def descriptor(self) -> FieldDescriptor | None:
        """The field; None for a oneof."""
        return descriptor_of(self.message).fields_by_name.get(self.field)

    def made(self, change: Callable[[Any], None]) -> Message:
        """Return a valid message with a change."""
        message = valid(self.message)
        for name, value in _CONTEXT.get((self.message, self.field), {}).items():
            setattr(message, name, value)
        change(message)
        return message


CASES = [
    Case(message, field, constraint)
    for message, fields in FIELD_RULES.items()
    for field, constraints in fields.items()
    for constraint in constraints
]


def descriptor_of(full_name: str) -> Descriptor:
    """Return the descriptor of a message type of the contract."""
    return descriptor_pool.Default().FindMessageTypeByName(full_name)


def new(full_name: str) -> Message:
    """Return an empty message."""
    return message_factory.GetMessageClass(descriptor_of(full_name))()


def valid(full_name: str) -> Message:
    """Return a message with little more than what is required."""
    message, descriptor = new(full_name), descriptor_of(full_name)
    rules = FIELD_RULES.get(full_name, {})
    for field in descriptor.fields:
        for constraint in rules.get(field.name, ()):
            if isinstance(constraint, Required):
                _set(message, field, _example(field))
            elif isinstance(constraint, Items):
                _add_items(message, field, constraint.low)
    for oneof in descriptor.oneofs:
        if Required() in rules.get(oneof.name, ()):
            member = _PREFERRED_MEMBER.get(oneof.full_name, oneof.fields[0].name)
            field = descriptor.fields_by_name[member]
            _set(message, field, _example(field))
    _satisfy_conditions(message)
    return message


def _satisfy_conditions(message: Message) -> None:
    """Set what the conditions over several fields ask for."""
    match message:
        case filter_pb2.BooleanFilter():  # two lists, so that each may be emptied
            message.must.add().exists.field = "media_type"
            message.must_not.add().exists.field = "source_uri"
        case filter_pb2.RangeFilter():
            message.greater_than.integer_value = 1
        case records_pb2.RecordField():
            message.field = "a"
        case collection_service_pb2.UpdateCollectionRequest():
            message.update_mask.paths.append("labels")
        case conversation_service_pb2.UpdateConversationRequest():
            message.update_mask.paths.append("title")
        case assistant_service_pb2.UpdateAssistantRequest():
            message.update_mask.paths.append("keywords")
        case generate_service_pb2.GenerateRequest() | generate_service_pb2.StreamGenerateRequest():
            message.assistant = "x"  # or else it names collections


def inside(case: Case) -> Iterator[Message]:
    """Yield valid messages at the edges of the constraint."""
    for value in _values_inside(case):
        yield case.made(partial(_put, case, value))
    if isinstance(case.constraint, Items):
        for count in (case.constraint.low, case.constraint.high):
            yield case.made(partial(_refill, case, count))
    if isinstance(case.constraint, Required | Default):
        yield case.made(lambda message: None)


def outside(case: Case) -> Iterator[tuple[Message, str]]:
    """Yield messages just over the edges, each with the path of its one violation."""
    field = case.descriptor
    for value in _values_outside(case):
        path = f"{case.field}[0]" if field is not None and field.is_repeated else case.field
        yield case.made(partial(_put, case, value)), path
    if isinstance(case.constraint, Items):
        for count in (case.constraint.low - 1, case.constraint.high + 1):
            if count >= 0:
                yield case.made(partial(_refill, case, count)), case.field
    if isinstance(case.constraint, Required):
        yield case.made(lambda message: message.ClearField(case.field)), case.field


def _values_inside(case: Case) -> list[Any]:
    values: list[Any] = []
    match case.constraint:
        case Range(low, high):
            values = [low, high]
        case Length(low, high):
            values = [_text(low), _text(high)] if low else [_text(high)]
        case Size(low, high):
            values = [b"x" * low, b"x" * high]
        case Pattern(regex):
            values = PATTERN_EXAMPLES[regex][0]
        case Content():
            values = ["a\0b"]
        case OutputOnly():
            values = [_nonsense(case.descriptor)]
    return values


def _values_outside(case: Case) -> list[Any]:
    match case.constraint:
        case Range(low, high) if _is_float(case.descriptor):
            beyond = [math.nextafter(low, -math.inf), math.nextafter(high, math.inf)]
            return [*beyond, math.nan, math.inf, -math.inf]
        case Range(low, high):
            return [low - 1, high + 1]
        case Length(low, high):
            return [_text(low - 1), _text(high + 1)] if low else [_text(high + 1)]
        case Size(low, high):
            return [b"x" * (low - 1), b"x" * (high + 1)]
        case Pattern(regex):
            return PATTERN_EXAMPLES[regex][1]
        case _:
            return []


def _is_float(field: FieldDescriptor | None) -> bool:
    return field is not None and field.type == FieldDescriptor.TYPE_DOUBLE


def _text(count: int) -> str:
    """Return a text of `count` code points that are two UTF-16 units and four UTF-8 bytes each."""
    return ("𝔸" if count <= _LONGEST_WIDE_TEXT else "x") * count


def _nonsense(field: FieldDescriptor | None) -> Any:
    """Return what would be refused in a field that is not output only."""
    assert field is not None
    if field.message_type is not None:
        nonsense = new(field.message_type.full_name)
        nonsense.nanos = -1  # type: ignore[attr-defined]  # a Timestamp, made by name
        return nonsense
    return "\0" if field.type == FieldDescriptor.TYPE_STRING else -1


def _put(case: Case, value: Any, message: Any) -> None:
    assert case.descriptor is not None
    if case.descriptor.is_repeated:
        message.ClearField(case.field)
    _set(message, case.descriptor, value)


def _refill(case: Case, count: int, message: Any) -> None:
    assert case.descriptor is not None
    message.ClearField(case.field)
    _add_items(message, case.descriptor, count)


def _set(message: Any, field: FieldDescriptor, value: Any) -> None:
    if field.is_repeated:
        getattr(message, field.name).append(value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _example(field: FieldDescriptor) -> Any:
    """Return a valid value of a singular field."""
    if field.message_type is not None:
        return valid(field.message_type.full_name)
    if field.type == FieldDescriptor.TYPE_STRING:
        assert field.containing_type is not None
        for constraint in FIELD_RULES[field.containing_type.full_name].get(field.name, ()):
            if isinstance(constraint, Pattern):
                return PATTERN_EXAMPLES[constraint.regex][0][0]
        return "x"
    return 1


def _add_items(message: Any, field: FieldDescriptor, count: int) -> None:
    """Add `count` valid items or entries, no two alike where they are told apart by name."""
    target = getattr(message, field.name)
    entry = field.message_type
    for index in range(count):
        if entry is not None and entry.GetOptions().map_entry:
            if entry.fields_by_name["value"].message_type is None:
                target[f"k{index}"] = "v"
            else:
                target[f"k{index}"].integer_value = index
        elif entry is not None:
            item = valid(entry.full_name)
            if entry.full_name == "rag.v1.MetadataField":
                item.name = f"f{index}"  # type: ignore[attr-defined]  # made by name
            if entry.full_name == "rag.v1.RecordField":
                item.field = f"f{index}"  # type: ignore[attr-defined]  # likewise
            target.append(item)
        else:
            target.append(1 if field.enum_type is not None else f"x{index}")


def empty_boolean_filter() -> Message:
    """Return a BooleanFilter that says nothing, wrong as a whole."""
    return filter_pb2.BooleanFilter()
