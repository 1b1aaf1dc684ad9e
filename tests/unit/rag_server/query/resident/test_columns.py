from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_server.domain.metadata import MetadataType, timestamp_us
from rag_server.query.resident.columns import (
    DocumentColumns,
    DocumentRow,
    ListColumn,
    ScalarColumn,
    StringColumn,
    StringDictionary,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DOCUMENTS: list[DocumentRow] = [
    ("b", "text/plain", "", {"price": 1, "tags": ("x", "y"), "open": True}),
    ("a", "text/html", "file:///ñ", {"price": 2.5, "tags": (), "at": EPOCH + timedelta(seconds=1)}),
    ("c", "text/plain", "", {"name": "🦜", "tags": ("y", "y"), "at": EPOCH}),
]

texts = st.text(st.characters(blacklist_characters="\0"), max_size=4)


def test_columns_of_documents_hold_each_value_once() -> None:
    columns = DocumentColumns.of(DOCUMENTS)
    assert columns.document_count == 3
    prices = columns.scalars("metadata.price", MetadataType.DOUBLE)
    assert isinstance(prices, ScalarColumn)
    assert prices.rows is not None
    assert (prices.rows.tolist(), prices.values.tolist()) == ([1], [2.5])
    integers = columns.scalars("metadata.price", MetadataType.INTEGER)
    assert integers is not None
    assert integers.values.dtype == np.int64
    moments = columns.scalars("metadata.at", MetadataType.TIMESTAMP)
    assert moments is not None
    assert moments.values.tolist() == [1_000_000, 0]


def test_columns_field_that_all_documents_have_needs_no_rows() -> None:
    columns = DocumentColumns.of(DOCUMENTS)
    ids = columns.strings("document_id")
    assert ids is not None
    assert ids.rows is None
    assert [ids.dictionary.decode()[code] for code in ids.codes] == ["b", "a", "c"]


def test_columns_string_list_is_found_by_its_strings() -> None:
    tags = DocumentColumns.of(DOCUMENTS).lists("metadata.tags")
    assert tags is not None
    assert tags.rows is None  # an empty list is there
    assert tags.dictionary.decode() == ["x", "y"]
    assert tags.owners[tags.starts[1] : tags.starts[2]].tolist() == [0, 2]  # repeated in a list: once


def test_columns_documents_of_each_string_of_a_list_are_ascending() -> None:
    columns = DocumentColumns.of([(str(row), "", "", {"tags": ("x", str(row % 3))}) for row in range(300)])
    tags = columns.lists("metadata.tags")
    assert tags is not None
    found = [tags.owners[start:end].tolist() for start, end in itertools.pairwise(tags.starts)]
    assert found == [[*range(0, 300, 3)], [*range(1, 300, 3)], [*range(2, 300, 3)], [*range(300)]]


def test_columns_field_of_another_type_or_unknown_is_none() -> None:
    columns = DocumentColumns.of(DOCUMENTS)
    assert columns.strings("metadata.price") is None
    assert columns.lists("metadata.name") is None
    assert columns.scalars("metadata.name", MetadataType.STRING) is None
    assert columns.scalars("metadata.nope", MetadataType.DOUBLE) is None
    assert columns.strings("name") is None  # metadata without its prefix


def test_columns_metadata_named_like_a_system_field_are_apart() -> None:
    columns = DocumentColumns.of([("a", "m", "u", {"document_id": "other"})])
    own, system = columns.strings("metadata.document_id"), columns.strings("document_id")
    assert own is not None
    assert system is not None
    assert (own.dictionary.decode(), system.dictionary.decode()) == (["other"], ["a"])


def same(one: DocumentColumns, other: DocumentColumns) -> bool:
    mine, theirs = one.arrays(), other.arrays()
    return mine.keys() == theirs.keys() and all(
        mine[name].dtype == theirs[name].dtype
        and mine[name].tobytes() == theirs[name].tobytes()  # tells -0.0 from 0.0, and NaN is NaN
        for name in mine
    )


values = st.one_of(
    texts,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.integers(-(10**15), 10**15).map(lambda us: EPOCH + timedelta(microseconds=us)),
    st.lists(texts, max_size=3).map(tuple),
)
rows = st.lists(
    st.tuples(texts, texts, texts, st.dictionaries(st.sampled_from(["a", "b", 'ñ "x".:']), values)),
    max_size=6,
)


@settings(deadline=None)
@given(rows)
def test_columns_from_their_arrays_are_the_same(documents: list[DocumentRow]) -> None:
    columns = DocumentColumns.of(documents)
    again = DocumentColumns.from_arrays(columns.arrays())
    assert again.document_count == len(documents)
    assert again.columns.keys() == columns.columns.keys()
    assert same(columns, again)
    assert columns.nbytes == again.nbytes == sum(array.nbytes for array in columns.arrays().values())


@pytest.mark.parametrize("documents", [DOCUMENTS, []], ids=["some", "none"])
def test_columns_mapped_from_files_are_the_same(tmp_path: Path, documents: list[DocumentRow]) -> None:
    columns = DocumentColumns.of(documents)
    for name, array in columns.arrays().items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=False)
    mapped = {
        file.name.removesuffix(".npy"): np.load(file, mmap_mode="r", allow_pickle=False)
        for file in tmp_path.iterdir()
    }
    again = DocumentColumns.from_arrays(mapped)
    assert same(columns, again)
    for column in again.columns.values():
        match column:
            case ScalarColumn():
                array: Any = column.values
            case StringColumn():
                array = column.codes
            case ListColumn():
                array = column.owners
        assert type(array) is np.ndarray  # what is computed from it is no memmap either
        assert not array.flags.writeable


@pytest.mark.parametrize("name", sorted(DocumentColumns.of(DOCUMENTS).arrays()))
@pytest.mark.parametrize("damage", ["missing", "dtype", "longer"])
def test_columns_from_damaged_arrays_raise(name: str, damage: str) -> None:
    arrays = DocumentColumns.of(DOCUMENTS).arrays()
    if damage == "missing":
        del arrays[name]
    elif damage == "dtype":
        arrays[name] = arrays[name].astype(np.float32)
    else:
        arrays[name] = np.append(arrays[name], arrays[name][-1:] + 1 if len(arrays[name]) else [1])
        arrays[name] = arrays[name].astype(DocumentColumns.of(DOCUMENTS).arrays()[name].dtype)
    with pytest.raises(ValueError, match=r"column|array|dictionary"):
        DocumentColumns.from_arrays(arrays)


def test_columns_from_arrays_of_an_unknown_type_raise() -> None:
    arrays = DocumentColumns.of([]).arrays()
    arrays["columns.text"] = np.frombuffer(
        arrays["columns.text"].tobytes().replace(b"string", b"strong"), np.uint8
    )
    with pytest.raises(ValueError, match="strong"):
        DocumentColumns.from_arrays(arrays)


@settings(deadline=None)
@given(st.lists(texts), texts)
def test_dictionary_ranges_follow_the_order_of_code_points(strings: list[str], asked: str) -> None:
    dictionary = StringDictionary.of(strings)
    distinct = sorted(set(strings))
    assert dictionary.decode() == distinct
    first, end = dictionary.range_of(asked)
    assert distinct[first:end] == [each for each in distinct if each == asked]
    assert all(each < asked for each in distinct[:first])
    assert all(each > asked for each in distinct[end:])
    first, end = dictionary.prefix_range(asked)
    assert distinct[first:end] == [each for each in distinct if each.startswith(asked)]


def test_dictionary_with_lone_surrogates_keeps_their_order() -> None:
    strings = ["\ud7ff", "\ud800", "\udfff", "\ue000", "\U00010000"]
    assert StringDictionary.of(reversed(strings)).decode() == strings


@settings(deadline=None)
@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-4))])))
def test_timestamp_is_exact_to_the_microsecond(value: datetime) -> None:
    assert EPOCH + timedelta(microseconds=timestamp_us(value)) == value
