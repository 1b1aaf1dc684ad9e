"""What has to be checked of each message type, worked out once from its descriptor and the table.

A walk visits the fields that are set and nothing else: `ListFields` yields just these, so absent
fields cost nothing and zero never passes for a value that was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from rag.v1 import filter_pb2
from rag_server.validation.constraint import Constraint, Items, OutputOnly, Required
from rag_server.validation.custom import CHECKS
from rag_server.validation.field_checks import Problem, first_of, problem_of, timestamp_problem
from rag_server.validation.filter_limits import excess_of
from rag_server.validation.finding import Check
from rag_server.validation.paths import entry_path
from rag_server.validation.report import Report
from rag_server.validation.rules import FIELD_RULES

FieldCheck = Callable[[Any, str, Report], None]
"""Checks the value of one field; gets the path of its message, which is empty or ends with a dot."""

_ValueCheck = Callable[[Any, str, Report], None]
"""Checks one value of a field; gets the value's own path."""

_FILTER: Final = "rag.v1.Filter"
_BOOLEAN_FILTER: Final = "rag.v1.BooleanFilter"
_TIMESTAMP: Final = "google.protobuf.Timestamp"


def walk_root(message: Message, report: Report) -> None:
    """Report what is wrong with a request and everything in it.

    Raises:
        ReportFullError: The report is full; more may be wrong.
    """
    if isinstance(message, filter_pb2.Filter):
        excess = excess_of(message)
        if excess:
            report.add("", excess.description, excess.reason)
            return
    _plan_of(message.DESCRIPTOR).walk(message, "", report)


class _MessagePlan:
    """The checks of one message type."""

    __slots__ = ("_checks", "_fields", "_needed", "_oneofs")

    def __init__(
        self,
        fields: Mapping[int, FieldCheck],
        needed: Mapping[int, tuple[str, str]],
        oneofs: Sequence[tuple[str, str]],
        checks: Sequence[Check],
    ) -> None:
        """Take the field checks by number; of what must be present, the name and the complaint."""
        self._fields = fields
        self._needed = needed
        self._oneofs = oneofs
        self._checks = checks

    def walk(self, message: Message, prefix: str, report: Report) -> None:
        """Report what is wrong with `message`; `prefix` is empty or its path with a dot."""
        fields, needed = self._fields, self._needed
        present = 0
        for descriptor, value in message.ListFields():
            number = descriptor.number
            if number in fields:
                fields[number](value, prefix, report)
            if number in needed:
                present += 1
        if present < len(needed):
            numbers = {descriptor.number for descriptor, _ in message.ListFields()}
            for number, (name, complaint) in needed.items():
                if number not in numbers:
                    report.add(prefix + name, complaint)
        for name, complaint in self._oneofs:
            if message.WhichOneof(name) is None:
                report.add(prefix + name, complaint)
        for check in self._checks:
            for path, description in check(message):
                report.add(prefix + path if path else prefix.removesuffix("."), description)


@cache
def _plan_of(message_type: Descriptor) -> _MessagePlan:
    rules = FIELD_RULES.get(message_type.full_name, {})
    fields: dict[int, FieldCheck] = {}
    needed: dict[int, tuple[str, str]] = {}
    for field in message_type.fields:
        constraints = rules.get(field.name, ())
        if first_of(OutputOnly, constraints):
            continue
        check = _field_check(field, constraints)
        if check:
            fields[field.number] = check
        items = first_of(Items, constraints)
        if items and items.low > 0:
            needed[field.number] = (field.name, f"has 0 items, must have {items.low} to {items.high}")
        elif first_of(Required, constraints):
            needed[field.number] = (field.name, "is required")
    oneofs = [
        (oneof.name, f"one of {', '.join(member.name for member in oneof.fields)} is required")
        for oneof in message_type.oneofs
        if first_of(Required, rules.get(oneof.name, ()))
    ]
    return _MessagePlan(fields, needed, oneofs, CHECKS.get(message_type.full_name, ()))


def _field_check(field: FieldDescriptor, constraints: Sequence[Constraint]) -> FieldCheck | None:
    """Return the check of a field that is set; None when nothing can be wrong with it."""
    items = first_of(Items, constraints)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return _map_check(field.name, _value_check(entry["key"]), _value_check(entry["value"]), items)
    check = _value_check(field, constraints)
    if field.is_repeated:
        return _list_check(field.name, check, items)
    return _single_check(field.name, check) if check else None


def _single_check(name: str, check_value: _ValueCheck) -> FieldCheck:
    def check(value: Any, prefix: str, report: Report) -> None:
        check_value(value, prefix + name, report)

    return check


def _list_check(name: str, check_item: _ValueCheck | None, items: Items | None) -> FieldCheck:
    def check(values: Sequence[Any], prefix: str, report: Report) -> None:
        path = prefix + name
        if _has_too_many(values, items, path, report) or check_item is None:
            return
        for index, value in enumerate(values):
            check_item(value, f"{path}[{index}]", report)

    return check


def _map_check(
    name: str, check_key: _ValueCheck | None, check_value: _ValueCheck | None, items: Items | None
) -> FieldCheck:
    def check(entries: Mapping[Any, Any], prefix: str, report: Report) -> None:
        path = prefix + name
        if _has_too_many(entries, items, path, report):
            return
        for key, value in entries.items():
            at = entry_path(path, str(key))
            if check_key:
                check_key(key, at, report)
            if check_value:
                check_value(value, at, report)

    return check


def _has_too_many(values: Sized, items: Items | None, path: str, report: Report) -> bool:
    """Report a list or map over its limit; what it holds is then not looked at."""
    if items is None or len(values) <= items.high:
        return False
    report.add(path, f"has {len(values)} items, must have {items.low} to {items.high}")
    return True


def _value_check(field: FieldDescriptor, constraints: Sequence[Constraint] = ()) -> _ValueCheck | None:
    """Return the check of one value, item or entry of a field; None when nothing can be wrong."""
    if field.message_type is None:
        problem = problem_of(field, constraints)
        return _scalar_check(problem) if problem else None
    if field.message_type.full_name == _TIMESTAMP:
        return _scalar_check(timestamp_problem)
    is_in_filter = field.containing_type is not None and field.containing_type.full_name == _BOOLEAN_FILTER
    begins_filter = field.message_type.full_name == _FILTER and not is_in_filter
    return _message_check(field.message_type, begins_filter=begins_filter)


def _scalar_check(problem: Problem) -> _ValueCheck:
    def check(value: Any, path: str, report: Report) -> None:
        description = problem(value)
        if description:
            report.add(path, description)

    return check


def _message_check(message_type: Descriptor, *, begins_filter: bool) -> _ValueCheck:
    """Return the check of a nested message.

    A filter is measured where its tree begins, and only one within the limits is walked: that
    bounds the depth of the recursion.
    """

    def check(message: Any, path: str, report: Report) -> None:
        excess = excess_of(message) if begins_filter else None
        if excess:
            report.add(path, excess.description, excess.reason)
        else:
            _plan_of(message_type).walk(message, path + ".", report)

    return check
