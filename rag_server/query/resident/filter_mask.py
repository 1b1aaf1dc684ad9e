"""A filter evaluated over the columns of one segment: one boolean per document, for both legs.

The meaning is that of `rag_server.testing.filter_reference`: a document that lacks a field matches no
comparison on it, not even `!=`, and so matches a `must_not` of any; numbers compare with numbers by
their exact value, also an integer beyond 2^53 with a double; everything else only with its own type.
Strings compare by code point.

Each leaf is a few passes over its column, or a binary search and the documents found; a list
costs the documents that match it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import eq, ge, gt, le, lt, ne
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from rag_server.domain.filter import Bool, Comparison, Exists, Filter, Membership, Operator, Prefix, Range
from rag_server.domain.metadata import MetadataType, MetadataValue, timestamp_us, type_of
from rag_server.query.resident.columns import DocumentColumns, Rows, StringColumn

Mask = npt.NDArray[np.bool_]

Hit = tuple[Rows | None, Mask | bool]
"""Documents (None: all), and which of them a leaf finds (a bool: all of them, or none)."""

_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: eq,
    Operator.NOT_EQUAL: ne,
    Operator.LESS: lt,
    Operator.LESS_OR_EQUAL: le,
    Operator.GREATER: gt,
    Operator.GREATER_OR_EQUAL: ge,
}
_BELOW = frozenset({Operator.LESS, Operator.LESS_OR_EQUAL})
_NUMBERS = (MetadataType.INTEGER, MetadataType.DOUBLE)
_SCALARS = (*_NUMBERS, MetadataType.BOOLEAN, MetadataType.TIMESTAMP)
_NO_CODE = -1
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_FEW = 8
"""Up to so many values, a pass over the column for each is fastest."""
_HASH_BITS = 16


def matching(columns: DocumentColumns, filter: Filter) -> Mask:
    """Return which documents pass `filter`, shape `(document_count,)`, a new array.

    O(documents) for each node of the filter, whose depth was bounded when the request was validated.
    """
    if isinstance(filter, Bool):
        return _bool(columns, filter)
    if isinstance(filter, Range):
        return _range(columns, filter)
    return _spread(columns, _hits(columns, filter))


def _bool(columns: DocumentColumns, node: Bool) -> Mask:
    mask = np.ones(columns.document_count, np.bool_)
    for child in node.must:
        mask &= matching(columns, child)
    if node.should:
        chosen = _none(columns)
        for child in node.should:
            chosen |= matching(columns, child)
        mask &= chosen
    for child in node.must_not:
        mask &= ~matching(columns, child)
    return mask


def _range(columns: DocumentColumns, node: Range) -> Mask:
    bounds = (
        (Operator.GREATER, node.greater_than),
        (Operator.GREATER_OR_EQUAL, node.greater_or_equal),
        (Operator.LESS, node.less_than),
        (Operator.LESS_OR_EQUAL, node.less_or_equal),
    )
    mask = np.ones(columns.document_count, np.bool_)
    for operator, bound in bounds:
        if bound is not None:
            mask &= _spread(columns, _compared(columns, node.field, operator, bound))
    return mask


def _hits(columns: DocumentColumns, node: Comparison | Membership | Exists | Prefix) -> Iterable[Hit]:
    """Return what a leaf finds, column by column."""
    match node:
        case Exists(field):
            return [(column.rows, True) for (name, _), column in columns.columns.items() if name == field]
        case Comparison(field, operator, value):
            return _compared(columns, field, operator, value)
        case Membership():
            return _members(columns, node)
        case Prefix(field, prefix):
            strings = columns.strings(field)
            if strings is None:
                return []
            first, end = strings.dictionary.prefix_range(prefix)
            return [(strings.rows, (strings.codes >= first) & (strings.codes < end))]


def _compared(
    columns: DocumentColumns, field: str, operator: Operator, value: MetadataValue
) -> Iterator[Hit]:
    kind = type_of(value)
    strings = columns.strings(field)
    if kind is MetadataType.STRING and strings is not None:
        yield strings.rows, _compare_strings(strings, operator, cast("str", value))
    for stored in _comparable(kind):
        column = columns.scalars(field, stored)
        if column is not None:
            yield column.rows, _compare_values(column.values, _exact(stored, operator, value))


def _comparable(kind: MetadataType) -> tuple[MetadataType, ...]:
    return _NUMBERS if kind in _NUMBERS else (kind,)


def _compare_values(values: npt.NDArray[Any], asked: tuple[Operator, int | float] | bool) -> Mask | bool:
    return asked if isinstance(asked, bool) else cast("Mask", _COMPARE[asked[0]](values, asked[1]))


def _exact(
    stored: MetadataType, operator: Operator, value: MetadataValue
) -> tuple[Operator, int | float] | bool:
    """Return a comparison of values of type `stored` alone that is exactly the one asked for.

    numpy would turn integers into doubles to compare them with a double, and integers beyond 2^53 would
    become their neighbours. A bool instead of a comparison: it is so, or not so, of every value.
    """
    match value:
        case bool():  # before int: bool is a subclass of it
            return operator, value
        case datetime():
            return operator, timestamp_us(value)
        case int() if stored is MetadataType.DOUBLE:
            return _exact_in_doubles(operator, value)
        case float() if stored is MetadataType.INTEGER:
            return _exact_in_integers(operator, value)
        case _:  # numpy compares int64 with integers beyond 64 bits correctly
            return operator, cast("int | float", value)


def _exact_in_integers(operator: Operator, bound: float) -> tuple[Operator, int] | bool:
    if not math.isfinite(bound):
        return bool(_COMPARE[operator](0, bound))
    floor = math.floor(bound)
    if floor == bound:
        return operator, floor
    if operator in {Operator.EQUAL, Operator.NOT_EQUAL}:
        return operator is Operator.NOT_EQUAL
    return (Operator.LESS_OR_EQUAL if operator in _BELOW else Operator.GREATER), floor


def _exact_in_doubles(operator: Operator, bound: int) -> tuple[Operator, float] | bool:
    nearest = float(bound)
    if nearest == bound:
        return operator, nearest
    if operator in {Operator.EQUAL, Operator.NOT_EQUAL}:
        return operator is Operator.NOT_EQUAL
    if nearest > bound:
        return (Operator.LESS if operator in _BELOW else Operator.GREATER_OR_EQUAL), nearest
    return (Operator.LESS_OR_EQUAL if operator in _BELOW else Operator.GREATER), nearest


def _compare_strings(column: StringColumn, operator: Operator, value: str) -> Mask:
    first, end = column.dictionary.range_of(value)
    bound = {
        Operator.EQUAL: first if end > first else _NO_CODE,
        Operator.NOT_EQUAL: first if end > first else _NO_CODE,
        Operator.LESS: first,
        Operator.LESS_OR_EQUAL: end - 1,
        Operator.GREATER: end - 1,
        Operator.GREATER_OR_EQUAL: first,
    }[operator]
    return cast("Mask", _COMPARE[operator](column.codes, bound))


def _members(columns: DocumentColumns, node: Membership) -> Iterator[Hit]:
    texts = [value for value in node.values if isinstance(value, str)]
    strings = columns.strings(node.field)
    if strings is not None:
        is_wanted = np.zeros(len(strings.dictionary), np.bool_)
        for first, end in map(strings.dictionary.range_of, texts):
            is_wanted[first:end] = True
        yield strings.rows, is_wanted[strings.codes]
    lists = columns.lists(node.field)
    if lists is not None:
        for first, end in map(lists.dictionary.range_of, texts):
            yield lists.owners[lists.starts[first] : lists.starts[end]], True
    for kind in _SCALARS:
        column = columns.scalars(node.field, kind)
        if column is not None:
            asked = [value for value in node.values if type_of(value) in _comparable(kind)]
            exact = [_exact(kind, Operator.EQUAL, value) for value in asked]
            yield column.rows, _is_in(column.values, [each[1] for each in exact if isinstance(each, tuple)])


def _is_in(values: npt.NDArray[Any], wanted: Sequence[int | float]) -> Mask:
    """Return which of `values` equal one of `wanted`.

    O(n * k) for few; for many O(n + m log k), where m values share a hash with one that is wanted (a Bloom
    filter of one hash function: Bloom, CACM 1970).
    """
    if values.dtype == np.int64:
        wanted = [each for each in wanted if _INT64_MIN <= each <= _INT64_MAX]
    sought = np.unique(np.array(wanted, values.dtype))
    mask = np.zeros(len(values), np.bool_)
    if len(sought) <= _FEW:
        for each in sought:
            mask |= values == each
        return mask
    is_wanted = np.zeros(1 << _HASH_BITS, np.bool_)
    is_wanted[_hashes(sought)] = True
    candidates = np.flatnonzero(is_wanted[_hashes(values)])
    places = np.searchsorted(sought, values[candidates])
    np.minimum(places, len(sought) - 1, out=places)
    mask[candidates] = sought[places] == values[candidates]
    return mask


def _hashes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Return a hash below `2**_HASH_BITS` of each value (multiplicative: Knuth, TAOCP 3, 6.4)."""
    bits: npt.NDArray[np.uint64] = (values + values.dtype.type(0)).view(
        np.uint64
    )  # -0.0 + 0.0 is 0.0, which it is equal to
    return bits * np.uint64(0x9E37_79B9_7F4A_7C15) >> np.uint64(64 - _HASH_BITS)


def _none(columns: DocumentColumns) -> Mask:
    return np.zeros(columns.document_count, np.bool_)


def _spread(columns: DocumentColumns, hits: Iterable[Hit]) -> Mask:
    """Return the mask over all documents from what holds of some."""
    mask = _none(columns)
    for rows, holds in hits:
        if rows is None:
            mask |= holds
        else:
            mask[rows] = holds  # columns of one field have no document in common
    return mask
