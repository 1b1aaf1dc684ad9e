"""Builder of Excel 97-2003 workbooks (BIFF8, [MS-XLS]) for tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.documents_compound import compound_file_of

FORMATS = ("General", "0.00", "0.0%", "yyyy-mm-dd", "[h]:mm:ss", "hh:mm")
"""The number formats of the cells, by which `Number` names them."""
_FIRST_FORMAT = 164
VISIBLE, HIDDEN, VERY_HIDDEN = range(3)


@dataclass(frozen=True)
class Number:
    """A cell with a number in one of `FORMATS`."""

    value: float
    format: str = "General"


@dataclass(frozen=True)
class Fault:
    """A cell with an error such as `#DIV/0!`, by its code."""

    code: int


Value = str | bool | Number | Fault | None


@dataclass(frozen=True)
class Sheet:
    """A sheet; `cells` are by row and column, `merged` are first row, last row, first column, last column."""

    name: str
    rows: Sequence[Sequence[Value]] = ()
    cells: Mapping[tuple[int, int], Value] = field(default_factory=dict)
    merged: Sequence[tuple[int, int, int, int]] = ()
    visibility: int = VISIBLE


def workbook(*sheets: Sheet, after_start: bytes = b"", stream: str = "Workbook") -> bytes:
    """Return a workbook; `after_start` are records that come second."""
    return compound_file_of({stream: workbook_stream(*sheets, after_start=after_start)})


def workbook_stream(*sheets: Sheet, after_start: bytes = b"") -> bytes:
    """Return the main stream of a workbook."""
    start = record(0x809, struct.pack("<HHHHII", 0x600, 5, 0x0DBB, 0x07CC, 0, 6)) + after_start
    start += record(0x42, struct.pack("<H", 1200)) + record(0x22, b"\0\0")
    for number, said in enumerate(FORMATS):
        start += record(0x41E, struct.pack("<H", _FIRST_FORMAT + number) + _string(said, "<H"))
    start += _style(0, 0xFFF5)
    for number in range(len(FORMATS)):
        start += _style(_FIRST_FORMAT + number, 0x0001)
    bodies = [_sheet(sheet) for sheet in sheets]
    tail = record(0x0A, b"")
    names = [_string(sheet.name, "<B") for sheet in sheets]
    position = len(start) + sum(4 + 6 + len(name) for name in names) + len(tail)
    for sheet, name, body in zip(sheets, names, bodies, strict=True):
        start += record(0x85, struct.pack("<IBB", position, sheet.visibility, 0) + name)
        position += len(body)
    return start + tail + b"".join(bodies)


def record(kind: int, content: bytes) -> bytes:
    """Return one record."""
    return struct.pack("<HH", kind, len(content)) + content


def _style(number_format: int, kind: int) -> bytes:
    return record(0xE0, struct.pack("<HHHBBBBIiH", 0, number_format, kind, 0, 0, 0, 0xFC, 0, 0, 0))


def _string(text: str, size: str) -> bytes:
    return struct.pack(size, len(text)) + b"\1" + text.encode("utf-16-le")


def _sheet(sheet: Sheet) -> bytes:
    content = record(0x809, struct.pack("<HHHHII", 0x600, 0x10, 0x0DBB, 0x07CC, 0, 6))
    cells = {(r, c): value for r, row in enumerate(sheet.rows) for c, value in enumerate(row)}
    for (row, column), value in sorted({**cells, **sheet.cells}.items()):
        content += _cell(row, column, value)
    if sheet.merged:
        ranges = b"".join(struct.pack("<4H", *each) for each in sheet.merged)
        content += record(0xE5, struct.pack("<H", len(sheet.merged)) + ranges)
    return content + record(0x0A, b"")


def _cell(row: int, column: int, value: Value) -> bytes:
    match value:
        case None:
            return b""
        case bool():
            return record(0x205, struct.pack("<HHHBB", row, column, 1, value, 0))
        case Fault():
            return record(0x205, struct.pack("<HHHBB", row, column, 1, value.code, 1))
        case Number():
            style = 1 + FORMATS.index(value.format)
            return record(0x203, struct.pack("<HHHd", row, column, style, value.value))
        case str():
            return record(0x204, struct.pack("<HHH", row, column, 1) + _string(value, "<H"))
