"""The documents of one segment as columns, so that a filter is a handful of array operations.

A column holds one field's values of one type. Documents that lack the field cost nothing: where not
all have it, the column says which do. A field may have two columns, as when a double field holds
integers, which keeps integers beyond 2^53 what they are; no document is in both.

All columns are plain arrays: `arrays` and `from_arrays` are the snapshot's form, and arrays that are
mapped from a file are used as they lie there. Strings are UTF-8, whose byte order is that of code points.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from rag_server.domain.filter import SYSTEM_FIELDS
from rag_server.domain.metadata import MetadataType, MetadataValue, timestamp_us, type_of

DocumentRow = tuple[str, str, str, Mapping[str, MetadataValue]]
"""Document id, media type, source URI, metadata."""

Rows = npt.NDArray[np.int32]
"""Numbers of documents, ascending, each once."""

Arrays = dict[str, npt.NDArray[Any]]

_SCALAR_DTYPES: dict[MetadataType, type[np.generic]] = {
    MetadataType.INTEGER: np.int64,
    MetadataType.DOUBLE: np.float64,
    MetadataType.BOOLEAN: np.bool_,
    MetadataType.TIMESTAMP: np.int64,
}


@dataclass(frozen=True, slots=True, eq=False)
class StringDictionary:
    """Distinct strings in the order of their code points; a string's code is its number, from 0."""

    text: npt.NDArray[np.uint8]
    """All strings one after the other, in UTF-8 (lone surrogates as they would be)."""
    starts: npt.NDArray[np.int64]
    """Shape `(len + 1,)`: where each string starts, and where the last one ends."""

    @classmethod
    def of(cls, strings: Iterable[str]) -> StringDictionary:
        """Return the dictionary of `strings`, which may repeat. O(n log n)."""
        return cls.of_sorted(sorted(set(strings)))

    @classmethod
    def of_sorted(cls, distinct: Sequence[str]) -> StringDictionary:
        """Return the dictionary of strings that are in order, each once."""
        encoded = [_encode(each) for each in distinct]
        starts = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(each) for each in encoded], out=starts[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, code: int) -> bytes:
        """Return the string of `code`, encoded."""
        return self.text[self.starts[code] : self.starts[code + 1]].tobytes()

    def decode(self) -> list[str]:
        """Return all strings, in order."""
        return [self[code].decode("utf-8", "surrogatepass") for code in range(len(self))]

    def range_of(self, text: str) -> tuple[int, int]:
        """Return the half-open range of codes equal to `text`; empty, where it would stand, if it is absent.

        Codes below the range belong to smaller strings, codes from its end on to greater ones. O(log n).
        """
        encoded = _encode(text)
        code = bisect_left(self, encoded)
        return code, code + (code < len(self) and self[code] == encoded)

    def prefix_range(self, prefix: str) -> tuple[int, int]:
        """Return the half-open range of the codes of the strings that start with `prefix`. O(log n)."""
        encoded = _encode(prefix)
        return bisect_left(self, encoded), bisect_left(self, encoded + b"\xff")  # UTF-8 has no such byte


@dataclass(frozen=True, slots=True, eq=False)
class ScalarColumn:
    """Numbers, booleans, or timestamps in microseconds since 1970-01-01 UTC."""

    rows: Rows | None
    """The documents that have the field; None: all have it."""
    values: npt.NDArray[Any]
    """Shape `(len(rows),)`, or `(n_documents,)`; int64, float64 or bool."""


@dataclass(frozen=True, slots=True, eq=False)
class StringColumn:
    """Strings by code."""

    rows: Rows | None
    codes: npt.NDArray[np.int32]
    """Shape `(len(rows),)`, or `(n_documents,)`."""
    dictionary: StringDictionary


@dataclass(frozen=True, slots=True, eq=False)
class ListColumn:
    """Lists of strings, turned round: for each string the documents whose list holds it (CSR by code).

    To find the documents of a string costs no more than there are of them; lists are never read back.
    """

    rows: Rows | None
    """The documents that have the field, those with an empty list included."""
    owners: npt.NDArray[np.int32]
    """The documents of code 0, then those of code 1, and so on; ascending for each code."""
    starts: npt.NDArray[np.int64]
    """Shape `(len(dictionary) + 1,)`: where the documents of each code start in `owners`."""
    dictionary: StringDictionary


Column = ScalarColumn | StringColumn | ListColumn


@dataclass(frozen=True, slots=True, eq=False)
class DocumentColumns:
    """The fields of the documents of one segment, immutable."""

    document_count: int
    columns: Mapping[tuple[str, MetadataType], Column]
    """By field as filters name it (`document_id`, `metadata.price`) and type of its values."""

    @classmethod
    def of(cls, documents: Sequence[DocumentRow]) -> DocumentColumns:
        """Return the columns of `documents`; the row of a document is its place there.

        O(values log values). Integers are 64-bit and datetimes aware, as in `domain.metadata`.
        """
        count = len(documents)
        found: dict[tuple[str, MetadataType], tuple[list[int], list[MetadataValue]]]
        found = defaultdict(lambda: ([], []))
        for place, name in enumerate(SYSTEM_FIELDS):
            values = [cast("str", document[place]) for document in documents]
            found[name, MetadataType.STRING] = (list(range(count)), [*values])
        kinds: dict[type, MetadataType] = {}  # the type of a value is a matter of its class alone
        for row, (*_, metadata) in enumerate(documents):
            for name, value in metadata.items():
                kind = kinds.get(type(value)) or kinds.setdefault(type(value), type_of(value))
                rows, metadata_values = found[f"metadata.{name}", kind]
                rows.append(row)
                metadata_values.append(value)
        columns = {key: _column(key[1], rows, values, count) for key, (rows, values) in found.items()}
        return cls(count, columns)

    def strings(self, field: str) -> StringColumn | None:
        """Return the strings of `field`, if any document has one."""
        column = self.columns.get((field, MetadataType.STRING))
        return column if isinstance(column, StringColumn) else None

    def lists(self, field: str) -> ListColumn | None:
        """Return the string lists of `field`, if any document has one."""
        column = self.columns.get((field, MetadataType.STRING_LIST))
        return column if isinstance(column, ListColumn) else None

    def scalars(self, field: str, kind: MetadataType) -> ScalarColumn | None:
        """Return the values of `field` that are of type `kind`, neither string nor list, if there are any."""
        column = self.columns.get((field, kind))
        return column if isinstance(column, ScalarColumn) else None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, whether in memory or mapped."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> Arrays:
        """Return the columns as arrays by name; names are letters, digits and dots."""
        by_name = {f"{kind}:{field}": column for (field, kind), column in self.columns.items()}
        arrays: Arrays = {"document_count": np.array([self.document_count], np.int64)}
        _put_dictionary(arrays, "columns", StringDictionary.of(by_name))
        for number, name in enumerate(sorted(by_name)):
            column, prefix = by_name[name], f"columns.{number}"
            if column.rows is not None:
                arrays[f"{prefix}.rows"] = column.rows
            match column:
                case ScalarColumn():
                    arrays[f"{prefix}.values"] = column.values
                case StringColumn():
                    arrays[f"{prefix}.codes"] = column.codes
                    _put_dictionary(arrays, prefix, column.dictionary)
                case ListColumn():
                    arrays[f"{prefix}.owners"] = column.owners
                    arrays[f"{prefix}.owner_starts"] = column.starts
                    _put_dictionary(arrays, prefix, column.dictionary)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> DocumentColumns:
        """Return the columns whose `arrays` these are, without copying or reading them.

        Raises:
            ValueError: An array is missing, or has a dtype or shape that fits nothing. What stands in the
                arrays is trusted: that is a matter of the snapshot's checksum.
        """
        count = int(_take(arrays, "document_count", np.int64, 1)[0])
        columns: dict[tuple[str, MetadataType], Column] = {}
        for number, name in enumerate(_take_dictionary(arrays, "columns").decode()):
            kind, _, field = name.partition(":")
            key = (field, MetadataType(kind))
            columns[key] = _take_column(arrays, f"columns.{number}", key[1], count)
        return cls(count, columns)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _column(kind: MetadataType, rows: list[int], values: list[MetadataValue], count: int) -> Column:
    present = None if len(rows) == count else np.array(rows, np.int32)
    if kind is MetadataType.STRING:
        dictionary, codes = _coded(cast("list[str]", values))
        return StringColumn(present, codes, dictionary)
    if kind is MetadataType.STRING_LIST:
        return _list_column(present, rows, cast("list[tuple[str, ...]]", values))
    numbers = [timestamp_us(each) if isinstance(each, datetime) else each for each in values]
    return ScalarColumn(present, np.array(numbers, _SCALAR_DTYPES[kind]))


def _list_column(present: Rows | None, rows: list[int], values: list[tuple[str, ...]]) -> ListColumn:
    pairs = [(row, item) for row, items in zip(rows, values, strict=True) for item in dict.fromkeys(items)]
    dictionary, codes = _coded([item for _, item in pairs])
    starts = np.zeros(len(dictionary) + 1, np.int64)
    np.cumsum(np.bincount(codes, minlength=len(dictionary)), out=starts[1:])
    owners = np.array([row for row, _ in pairs], np.int32)[np.argsort(codes, kind="stable")]
    return ListColumn(present, owners, starts, dictionary)


def _coded(strings: Sequence[str]) -> tuple[StringDictionary, npt.NDArray[np.int32]]:
    distinct = sorted(set(strings))
    code_of = {each: code for code, each in enumerate(distinct)}
    return StringDictionary.of_sorted(distinct), np.array([code_of[each] for each in strings], np.int32)


def _put_dictionary(arrays: Arrays, prefix: str, dictionary: StringDictionary) -> None:
    arrays[f"{prefix}.text"] = dictionary.text
    arrays[f"{prefix}.text_starts"] = dictionary.starts


def _take(
    arrays: Mapping[str, npt.NDArray[Any]], name: str, dtype: type[np.generic], length: int | None = None
) -> npt.NDArray[Any]:
    if name not in arrays:
        raise ValueError(f"no array {name!r}")
    array = np.asarray(arrays[name])  # a mapped array as a plain one: what is computed from it is plain too
    if array.ndim != 1 or array.dtype != dtype or (length is not None and len(array) != length):
        raise ValueError(f"{name!r} is {array.dtype} of shape {array.shape}: no such column")
    return array


def _take_dictionary(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> StringDictionary:
    text = _take(arrays, f"{prefix}.text", np.uint8)
    starts = _take(arrays, f"{prefix}.text_starts", np.int64)
    if len(starts) == 0 or starts[0] != 0 or starts[-1] != len(text):
        raise ValueError(f"{prefix!r} is no dictionary: its strings do not fill its text")
    return StringDictionary(text, starts)


def _take_column(
    arrays: Mapping[str, npt.NDArray[Any]], prefix: str, kind: MetadataType, count: int
) -> Column:
    rows = _take(arrays, f"{prefix}.rows", np.int32) if f"{prefix}.rows" in arrays else None
    length = count if rows is None else len(rows)
    if kind is MetadataType.STRING:
        codes = _take(arrays, f"{prefix}.codes", np.int32, length)
        return StringColumn(rows, codes, _take_dictionary(arrays, prefix))
    if kind is MetadataType.STRING_LIST:
        dictionary = _take_dictionary(arrays, prefix)
        starts = _take(arrays, f"{prefix}.owner_starts", np.int64, len(dictionary) + 1)
        owners = _take(arrays, f"{prefix}.owners", np.int32, int(starts[-1]))
        return ListColumn(rows, owners, starts, dictionary)
    return ScalarColumn(rows, _take(arrays, f"{prefix}.values", _SCALAR_DTYPES[kind], length))
