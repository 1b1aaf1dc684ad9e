from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from rag_server.query.resident.columns import DocumentColumns, DocumentRow
from rag_server.query.resident.filter_mask import matching
from rag_server.testing.filter_reference import matches

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
BIG = [2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, 2**63 - 512, 2**63 - 513, -(2**63), -(2**53) - 1]

letters = st.sampled_from(
    ["a", "b", "ñ", "n\u0303", "🦜", "\uffff", "\U0010ffff", "\ud7ff", "\ue000", '"', "\n", " "]
)
texts = st.lists(letters, max_size=3).map("".join)
integers = st.integers(-3, 3) | st.sampled_from(BIG)
doubles = st.one_of(
    st.sampled_from([-0.0, 0.0, 0.5, -2.5, 5e-324, 1e300, math.inf, -math.inf, math.nan]),
    st.sampled_from([float(each) for each in BIG]),
    st.floats(),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "kind": st.sampled_from(["a", "b"]),
    "count": integers,
    "ratio": doubles | integers,  # a double field takes integers
    "flag": st.booleans(),
    "at": st.integers(-3, 3).map(lambda us: EPOCH + timedelta(microseconds=us)),
    "tags": st.lists(texts, max_size=3).map(tuple),
}
anything = st.one_of(*FIELDS.values())
values = st.one_of(doubles, integers, st.booleans(), texts, FIELDS["at"], FIELDS["tags"])


def leaves_on(field: str, likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    asked = st.one_of(likely, likely, anything)
    bound = st.none() | asked
    named = st.just(field)
    return st.one_of(
        st.builds(Comparison, named, st.sampled_from(Operator), asked),
        st.builds(Membership, named, st.lists(asked | texts, max_size=12).map(tuple)),
        st.builds(Range, named, bound, bound, bound, bound),
        st.builds(Prefix, named, texts),
        st.builds(Exists, named),
    )


leaves = st.one_of(
    *[leaves_on(f"metadata.{name}", likely) for name, likely in FIELDS.items()],
    *[leaves_on(name, texts) for name in SYSTEM_FIELDS],
    leaves_on("metadata.unknown", anything),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    leaves,
    lambda inner: st.builds(
        Bool,
        must=st.lists(inner, max_size=2).map(tuple),
        should=st.lists(inner, max_size=2).map(tuple),
        must_not=st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=6,
)
documents_of_any_kind = st.lists(
    st.tuples(texts, texts, texts, st.fixed_dictionaries({}, optional=FIELDS)), max_size=8
)


def expected(documents: list[DocumentRow], node: Filter) -> list[bool]:
    return [matches(node, dict(zip(SYSTEM_FIELDS, row, strict=False)), row[3]) for row in documents]


def found(documents: list[DocumentRow], node: Filter) -> list[bool]:
    mask = matching(DocumentColumns.of(documents), node)
    assert mask.dtype == np.bool_
    return list(mask.tolist())


@settings(max_examples=100, deadline=None)
@given(documents_of_any_kind, st.lists(filters, min_size=1, max_size=5))
def test_mask_of_any_filter_is_what_the_reference_says(
    documents: list[DocumentRow], asked: list[Filter]
) -> None:
    columns = DocumentColumns.of(documents)
    for node in asked:
        assert matching(columns, node).tolist() == expected(documents, node)


@settings(max_examples=100, deadline=None)
@given(st.lists(values, max_size=8), leaves_on("metadata.x", values))
def test_mask_of_a_field_with_values_of_all_types_is_what_the_reference_says(
    held: list[MetadataValue], node: Filter
) -> None:
    documents: list[DocumentRow] = [("", "", "", {"x": value}) for value in held]
    assert found(documents, node) == expected(documents, node)


NUMBERS: list[int | float] = [
    *BIG,
    *map(float, BIG),
    -0.0,
    0,
    1,
    True,
    0.5,
    math.nan,
    math.inf,
    -math.inf,
    2**63,
    1e300,
]


@pytest.mark.parametrize("asked", NUMBERS, ids=repr)
@pytest.mark.parametrize("operator", Operator)
def test_mask_of_numbers_compares_their_exact_values(operator: Operator, asked: float) -> None:
    documents: list[DocumentRow] = [("", "", "", {"x": value}) for value in NUMBERS[:-2]]
    node = Comparison("metadata.x", operator, asked)
    assert found(documents, node) == expected(documents, node)
    member = Membership("metadata.x", (asked, *range(100, 120)))
    assert found(documents, member) == expected(documents, member)


@pytest.mark.parametrize("asked", ["", "a", "b", "ba", "c", "ñ", "\uffff", "🦜"])
@pytest.mark.parametrize("operator", Operator)
def test_mask_of_strings_compares_code_points(operator: Operator, asked: str) -> None:
    documents: list[DocumentRow] = [(text, "", "", {}) for text in ["b", "", "🦜", "ñ", "bb", "\ue000"]]
    node = Comparison("document_id", operator, asked)
    assert found(documents, node) == expected(documents, node)


@pytest.mark.parametrize(
    ("asked", "passing"),
    [
        (Comparison("metadata.n", Operator.NOT_EQUAL, 1), ["other"]),
        (Bool(must_not=(Comparison("metadata.n", Operator.EQUAL, 1),)), ["other", "lacks"]),
        (Bool(must_not=(Comparison("metadata.n", Operator.NOT_EQUAL, 1),)), ["has", "lacks"]),
        (Bool(must_not=(Membership("metadata.n", (1, 2)),)), ["lacks"]),
        (Bool(must_not=(Prefix("metadata.absent", "1"),)), ["has", "other", "lacks"]),
        (Bool(must_not=(Exists("metadata.n"),)), ["lacks"]),
        (Membership("metadata.n", ()), []),
        (Membership("document_id", ("lacks", "has", "nope")), ["has", "lacks"]),
        (Bool(), ["has", "other", "lacks"]),
        (Bool(should=(Exists("metadata.absent"),)), []),
        (Comparison("metadata.n", Operator.EQUAL, True), []),  # no number
        (Comparison("metadata.n", Operator.EQUAL, 1.0), ["has"]),
        (Comparison("metadata.n", Operator.LESS, 1.5), ["has"]),
    ],
)
def test_mask_of_missing_field_matches_no_comparison_but_every_must_not(
    asked: Filter, passing: list[str]
) -> None:
    documents: list[DocumentRow] = [
        ("has", "", "", {"n": 1}),
        ("other", "", "", {"n": 2}),
        ("lacks", "", "", {}),
    ]
    mask = matching(DocumentColumns.of(documents), asked)
    assert [row[0] for row, passes in zip(documents, mask, strict=True) if passes] == passing


def test_mask_of_the_deepest_filter_is_found() -> None:
    node: Filter = Comparison("document_id", Operator.EQUAL, "a")
    for _ in range(32):
        node = Bool(must_not=(node,))
    assert found([("a", "", "", {}), ("b", "", "", {})], node) == [True, False]


def test_mask_is_new_and_writable_each_time() -> None:
    columns = DocumentColumns.of([("a", "", "", {"flag": True})])
    node = Comparison("metadata.flag", Operator.EQUAL, True)
    first = matching(columns, node)
    first[:] = False
    assert matching(columns, node).tolist() == [True]
