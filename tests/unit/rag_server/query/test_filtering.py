from __future__ import annotations

from datetime import UTC, datetime

import pytest

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
from rag_server.domain.metadata import MetadataType, MetadataValue
from rag_server.errors import InvalidArgument
from rag_server.query.filtering import check_filter
from tests.unit.rag_server.query.conftest import make_collection

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = {
    "name": MetadataType.STRING,
    "year": MetadataType.INTEGER,
    "price": MetadataType.DOUBLE,
    "open": MetadataType.BOOLEAN,
    "date": MetadataType.TIMESTAMP,
    "tags": MetadataType.STRING_LIST,
}
VALUES: dict[str, MetadataValue] = {
    "name": "x",
    "year": 7,
    "price": 7.5,
    "open": True,
    "date": MOMENT,
    "tags": ("x", "y"),
}
BOOKS = make_collection("books", **FIELDS)
ORDERED = ("year", "price", "date")
ORDERING = (Operator.LESS, Operator.LESS_OR_EQUAL, Operator.GREATER, Operator.GREATER_OR_EQUAL)


def refusal(node: Filter) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        check_filter(node, [BOOKS], path="filter")
    return caught.value


@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"tags"}))
@pytest.mark.parametrize("operator", [Operator.EQUAL, Operator.NOT_EQUAL])
def test_filter_equality_with_the_fields_own_type_is_accepted(name: str, operator: Operator) -> None:
    check_filter(Comparison(f"metadata.{name}", operator, VALUES[name]), [BOOKS], path="filter")


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("other", VALUES)
def test_filter_value_of_another_type_is_refused(name: str, other: str) -> None:
    node = Comparison(f"metadata.{name}", Operator.EQUAL, VALUES[other])
    numeric = {name, other} <= {"year", "price"}
    if (name == other and name != "tags") or numeric:
        check_filter(node, [BOOKS], path="filter")
        return
    error = refusal(node)
    assert error.reason == "FILTER_TYPE_MISMATCH"
    assert error.violations[0].field == "filter.comparison.value"


@pytest.mark.parametrize("operator", Operator)
def test_filter_list_is_not_compared(operator: Operator) -> None:
    error = refusal(Comparison("metadata.tags", operator, ("x", "y")))
    assert error.reason == "FILTER_TYPE_MISMATCH"
    assert error.violations[0].field == "filter.comparison.value"


@pytest.mark.parametrize("operator", ORDERING)
@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"tags"}))
def test_filter_order_is_for_numbers_and_timestamps(name: str, operator: Operator) -> None:
    node = Comparison(f"metadata.{name}", operator, VALUES[name])
    if name in ORDERED:
        check_filter(node, [BOOKS], path="filter")
        return
    error = refusal(node)
    assert error.reason == "FILTER_TYPE_MISMATCH"
    assert error.violations[0].field == "filter.comparison.operator"


@pytest.mark.parametrize("name", FIELDS)
def test_filter_range_is_for_numbers_and_timestamps(name: str) -> None:
    node = Range(f"metadata.{name}", greater_than=VALUES[name], less_or_equal=VALUES[name])
    if name in ORDERED:
        check_filter(node, [BOOKS], path="filter")
        return
    assert refusal(node).violations[0].field == "filter.range.field"


@pytest.mark.parametrize("bound", ["greater_than", "greater_or_equal", "less_than", "less_or_equal"])
def test_filter_range_bound_of_another_type_is_named(bound: str) -> None:
    error = refusal(Range("metadata.year", **{bound: "x"}))
    assert error.reason == "FILTER_TYPE_MISMATCH"
    assert error.violations[0].field == f"filter.range.{bound}"


def test_filter_membership_checks_each_value() -> None:
    check_filter(Membership("metadata.year", (1, 2)), [BOOKS], path="filter")
    error = refusal(Membership("metadata.year", (1, "x")))
    assert error.reason == "FILTER_TYPE_MISMATCH"
    assert error.violations[0].field == "filter.membership.values[1]"


def test_filter_membership_in_a_list_takes_its_items() -> None:
    check_filter(Membership("metadata.tags", ("x", "y")), [BOOKS], path="filter")
    assert refusal(Membership("metadata.tags", (1,))).reason == "FILTER_TYPE_MISMATCH"


def test_filter_prefix_is_for_strings() -> None:
    check_filter(Prefix("metadata.name", "x"), [BOOKS], path="filter")
    error = refusal(Prefix("metadata.year", "19"))
    assert error.reason == "FILTER_TYPE_MISMATCH"
    assert error.violations[0].field == "filter.prefix.field"


@pytest.mark.parametrize("name", SYSTEM_FIELDS)
def test_filter_system_fields_are_strings(name: str) -> None:
    check_filter(Comparison(name, Operator.EQUAL, "x"), [BOOKS], path="filter")
    check_filter(Prefix(name, "x"), [BOOKS], path="filter")
    assert refusal(Comparison(name, Operator.EQUAL, 1)).reason == "FILTER_TYPE_MISMATCH"


@pytest.mark.parametrize(
    ("node", "path"),
    [
        (Comparison("metadata.nope", Operator.EQUAL, 1), "filter.comparison.field"),
        (Membership("metadata.nope", (1,)), "filter.membership.field"),
        (Range("metadata.nope", less_than=1), "filter.range.field"),
        (Exists("metadata.nope"), "filter.exists.field"),
        (Prefix("metadata.nope", "x"), "filter.prefix.field"),
        (Exists("name"), "filter.exists.field"),  # metadata without its prefix
        (Exists("tenant_id"), "filter.exists.field"),  # a column of the store
        (
            Bool(must=(Bool(should=(Exists("metadata.name"), Exists("nope"))),)),
            "filter.boolean.must[0].boolean.should[1].exists.field",
        ),
        (Bool(must_not=(Exists("nope"),)), "filter.boolean.must_not[0].exists.field"),
    ],
)
def test_filter_unknown_field_is_refused_with_its_path(node: Filter, path: str) -> None:
    error = refusal(node)
    assert error.reason == "UNKNOWN_FILTER_FIELD"
    assert [each.field for each in error.violations] == [path]
    assert "metadata.name" in error.message  # what could have been meant


def test_filter_path_starts_where_the_caller_says() -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_filter(Exists("nope"), [BOOKS], path="requests[2].options.filter")
    assert caught.value.violations[0].field == "requests[2].options.filter.exists.field"


def test_filter_field_that_one_of_the_collections_knows_is_accepted() -> None:
    check_filter(Exists("metadata.year"), [make_collection("empty"), BOOKS], path="filter")


def test_filter_field_with_two_types_takes_values_of_both() -> None:
    other = make_collection("other", year=MetadataType.STRING)
    for value in (1990, "1990"):
        check_filter(Comparison("metadata.year", Operator.EQUAL, value), [BOOKS, other], path="filter")
    with pytest.raises(InvalidArgument):
        check_filter(Comparison("metadata.year", Operator.EQUAL, True), [BOOKS, other], path="filter")


def test_filter_that_is_empty_is_accepted() -> None:
    check_filter(Bool(), [BOOKS], path="filter")
