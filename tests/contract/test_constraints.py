"""The constraints in the contract's comments, in the table and in the validator are the same.

The comments are read from the sources; the table is compared with them both ways; then each
constraint of the table is tried just inside and just outside.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from rag_server.domain.collection import CharacterChunking, TokenChunking
from rag_server.domain.fusion import AdaptiveFusion, MinMaxFusion, RrfFusion, ZScoreFusion
from rag_server.domain.lexical import Bm25
from rag_server.domain.retrieval import CrossEncoder, Grouping, LateInteraction, Mmr, RetrievalRequest
from rag_server.validation import validate, value_or_default
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
from rag_server.validation.rules import FIELD_RULES
from tests.contract.constraint_examples import (
    CASES,
    PATTERN_EXAMPLES,
    Case,
    descriptor_of,
    empty_boolean_filter,
    inside,
    new,
    outside,
    valid,
)
from tests.contract.proto_source import constraints_in, elements, files, near_misses_in

COMMENTED = [element for element in elements() if element.kind in {"field", "oneof"}]
INTEGERS = {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64}


def paths_by_message() -> dict[str, list[FieldDescriptor]]:
    """Return a shortest way from a request to each message type that requests can hold.

    The first field of a way belongs to the request; the request itself has an empty way.
    """
    requests = [method.input_type[1:] for f in files() for service in f.service for method in service.method]
    # First, so that ways lead through it: a question may not hold all the options that it may.
    requests.sort(key=lambda name: name != "rag.v1.RetrieveRequest")
    ways: dict[str, list[FieldDescriptor]] = {name: [] for name in requests}
    queue: deque[Descriptor] = deque(map(descriptor_of, requests))
    while queue:
        message = queue.popleft()
        for field in message.fields:
            constraints = FIELD_RULES.get(message.full_name, {}).get(field.name, ())
            nested = field.message_type
            if nested is not None and nested.GetOptions().map_entry:
                nested = nested.fields_by_name["value"].message_type
            if nested is None or OutputOnly() in constraints or nested.full_name in ways:
                continue
            ways[nested.full_name] = [*ways[message.full_name], field]
            queue.append(nested)
    return ways


WAYS = paths_by_message()


@pytest.mark.parametrize("element", COMMENTED, ids=lambda element: element.full_name)
def test_comment_and_table_agree(element: Any) -> None:
    in_comment = constraints_in(element.comment)
    in_table = [c for c in FIELD_RULES.get(element.owner, {}).get(element.name, ()) if c != Content()]

    assert set(in_comment) == set(in_table)
    assert len(in_comment) == len(in_table)


def test_table_names_only_fields_and_oneofs_of_the_contract() -> None:
    known = {(element.owner, element.name) for element in COMMENTED}

    assert {(case.message, case.field) for case in CASES} - known == set()


def test_table_holds_only_messages_that_requests_hold() -> None:
    assert set(FIELD_RULES) - set(WAYS) == set()


def test_every_commented_constraint_is_reachable_from_a_request() -> None:
    constrained = {element.owner for element in COMMENTED if constraints_in(element.comment)}

    assert constrained - set(WAYS) == set()


def test_comments_state_no_constraint_in_another_form() -> None:
    missed = {e.full_name: near_misses_in(e.comment) for e in elements() if near_misses_in(e.comment)}

    assert missed == {}


def test_comments_of_other_elements_state_no_constraint() -> None:
    others = [element for element in elements() if element.kind not in {"field", "oneof"}]

    assert [element.full_name for element in others if constraints_in(element.comment)] == []


@pytest.mark.parametrize(
    "comment",
    [
        "x is a number. Range 1-5.",
        "x is a number. Range: 1-5.",
        "x is a number. Range: 1 to 5",
        "x is a number. Range: 1 to 5, Default: 3.",
        "x is a number. range: 1 to 5.",
        "x is a number. Default 3.",
        "x is a number. Default: `3`.",
        "x is a text. Length: 1 to 5.",
        "x is a text. Length: 1 to 5 characters.",
        "x is a list. Items: 5.",
        "x is a blob. Size: 1 to 5 MiB.",
        "x is a text. Pattern: [a-z].",
        "x is a text. Pattern `[a-z]`.",
        "x is a text. required.",
        "x is a text. Required: yes.",
        "x is a text. Output-only.",
        "x is a text, output only.",
    ],
)
def test_near_miss_of_a_form_is_detected(comment: str) -> None:
    assert near_misses_in(comment) != []


@pytest.mark.parametrize(
    ("comment", "constraints"),
    [
        ("x. Required.", [Required()]),
        ("x. Range: -1 to 5. Default: 4.", [Range(-1, 5), Default(4)]),
        ("x. Range: 0 to 0.5. Default: 0.2.", [Range(0, 0.5), Default(0.2)]),
        ("x. Items: 1 to 2. Length: 3 to 4 code points.", [Length(3, 4), Items(1, 2)]),
        ("x. Size: 1 to 2 bytes.", [Size(1, 2)]),
        ("x. Pattern: `[a-z.]{0,2}`.", [Pattern("[a-z.]{0,2}")]),
        ("x. Output only: later.", [OutputOnly()]),
        ("x has a range and a default size, of length 1. It is required here.", []),
    ],
)
def test_fixed_form_is_read(comment: str, constraints: list[Constraint]) -> None:
    assert constraints_in(comment) == constraints
    assert near_misses_in(comment) == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_constraint_fits_the_type_of_its_field(case: Case) -> None:
    field = case.descriptor
    if field is None:
        assert case.constraint == Required()
        return
    match case.constraint:
        case Range() | Default():
            # Presence, so that zero is a value and absence is not one.
            assert field.type in INTEGERS | {FieldDescriptor.TYPE_DOUBLE}
            assert field.has_presence
        case Length() | Pattern() | Content():
            assert field.type == FieldDescriptor.TYPE_STRING
        case Size():
            assert field.type == FieldDescriptor.TYPE_BYTES
        case Items():
            assert field.is_repeated
        case Required():
            assert not field.is_repeated
            assert (
                field.message_type is not None
                or field.enum_type is not None
                or field.type == FieldDescriptor.TYPE_STRING
            )
        case OutputOnly():
            assert len(FIELD_RULES[case.message][case.field]) == 1


@pytest.mark.parametrize("case", CASES, ids=str)
def test_constraint_just_inside_passes(case: Case) -> None:
    messages = list(inside(case))

    assert messages
    for message in messages:
        assert validate(message) == []


@pytest.mark.parametrize(
    "case", [c for c in CASES if not isinstance(c.constraint, Default | OutputOnly | Content)], ids=str
)
def test_constraint_just_outside_is_a_violation_of_that_field(case: Case) -> None:
    attempts = list(outside(case))

    assert attempts
    for message, path in attempts:
        assert {violation.field for violation in validate(message)} == {path}


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.constraint, Default)], ids=str)
def test_default_stands_in_for_absence_only(case: Case) -> None:
    assert isinstance(case.constraint, Default)
    assert case.descriptor is not None
    expected = case.constraint.value
    message: Any = new(case.message)

    absent = value_or_default(message, case.field)
    setattr(message, case.field, 0)

    assert absent == expected
    assert type(absent) is (int if case.descriptor.type in INTEGERS else float)
    assert value_or_default(message, case.field) == 0


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.constraint, Default)], ids=str)
def test_default_lies_within_its_range(case: Case) -> None:
    bounds = next(c for c in FIELD_RULES[case.message][case.field] if isinstance(c, Range))

    assert isinstance(case.constraint, Default)
    assert bounds.low <= case.constraint.value <= bounds.high


@pytest.mark.parametrize(
    ("message", "domain"),
    [
        ("rag.v1.TokenChunking", TokenChunking),
        ("rag.v1.CharacterChunking", CharacterChunking),
        ("rag.v1.Bm25", Bm25),
        ("rag.v1.RrfFusion", RrfFusion),
        ("rag.v1.MinMaxFusion", MinMaxFusion),
        ("rag.v1.ZScoreFusion", ZScoreFusion),
        ("rag.v1.AdaptiveFusion", AdaptiveFusion),
        ("rag.v1.LateInteractionRerank", LateInteraction),
        ("rag.v1.CrossEncoderRerank", CrossEncoder),
        ("rag.v1.Mmr", Mmr),
        ("rag.v1.DocumentGrouping", Grouping),
        ("rag.v1.RetrievalOptions", RetrievalRequest),
    ],
)
def test_default_is_that_of_the_domain(message: str, domain: type) -> None:
    in_domain = {field.name: field.default for field in dataclasses.fields(domain)}
    in_table = {case.field: case.constraint for case in CASES if case.message == message}

    defaults = {name: c.value for name, c in in_table.items() if isinstance(c, Default)}
    assert defaults
    assert defaults == {name: in_domain[name] for name in defaults}


@pytest.mark.parametrize("message", sorted(FIELD_RULES))
def test_violation_deep_in_a_request_has_the_whole_path(message: str) -> None:
    way = WAYS[message]
    root_type = way[0].containing_type.full_name if way and way[0].containing_type else message
    wrong, path = _wrong(message)
    if not way:
        assert {violation.field for violation in validate(wrong)} == {path}
        return
    root: Any = valid(root_type)
    target, prefix = root, ""
    for field in way:
        target, step = _step_into(target, field)
        prefix = f"{prefix}.{step}" if prefix else step
    target.CopyFrom(wrong)

    expected = f"{prefix}.{path}" if path else prefix
    assert {violation.field for violation in validate(root)} == {expected}


def test_pattern_examples_are_those_of_the_table() -> None:
    patterns = {case.constraint.regex for case in CASES if isinstance(case.constraint, Pattern)}

    assert patterns == set(PATTERN_EXAMPLES)


def _wrong(message: str) -> tuple[Message, str]:
    """Return a message of the given type with one violation, and its path."""
    if message == "rag.v1.BooleanFilter":  # one that is too long would be refused as a filter too large
        return empty_boolean_filter(), ""
    cases = [case for case in CASES if case.message == message]
    return next(attempt for case in cases for attempt in outside(case))


def _step_into(message: Any, field: FieldDescriptor) -> tuple[Any, str]:
    """Return the message that a field holds, made where it is absent, and the step of the path."""
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return value["key"], f"{field.name}.key"
    if field.is_repeated:
        return (value[0] if value else value.add()), f"{field.name}[0]"
    value.SetInParent()
    return value, field.name
