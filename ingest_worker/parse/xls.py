"""XLS (Excel 5.0 to 2003, [MS-XLS]): each visible sheet is a heading with its tables (xlrd).

The library comes with the extra `office`. Where it is missing the format is named as unsupported.
"""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.cell_text import cell_text
from ingest_worker.parse.compound_file import CompoundFile
from ingest_worker.parse.grid import grid_blocks
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.merged_cells import MAX_MERGED, MergedCells
from ingest_worker.parse.xlsx import MAX_CELLS
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

try:
    import xlrd
except ImportError:  # the extra is not installed: `XlsParser.parse` says so
    xlrd = None

_WITHOUT_VALUE = frozenset({0, 6})
"""Kinds of cells that are empty, or have a style only. A far cell has thousands of them before it."""
_STREAMS = ("Workbook", "Book")
_FILE_PASS = 0x2F
"""The record that says how a workbook is encrypted, [MS-XLS] 2.4.117. It stands near the start."""
_MAX_LEADING_RECORDS = 20
_DAMAGE = (
    *(LookupError, ValueError, TypeError, AttributeError, OverflowError, AssertionError),
    *(ArithmeticError, struct.error, OSError),
)
"""What xlrd raises, beside its own errors, for records that are not as they should be."""


class XlsParser:
    """Parser of XLS: the values that formulas had when the file was saved. Hidden sheets are left out."""

    media_types = frozenset({MediaType.XLS})

    def parse(self, data: bytes) -> ParsedDocument:
        if xlrd is None:
            raise faults.needs_extra(MediaType.XLS, "office")
        with CompoundFile(data) as file:
            content = next((found for name in _STREAMS if (found := file.stream(name)) is not None), None)
        if not content:
            raise faults.corrupt("is a workbook without its main stream: damaged")
        if _is_encrypted(content):
            raise faults.encrypted()
        try:
            blocks = list(_Sheets().blocks(content))
        except (xlrd.XLRDError, xlrd.compdoc.CompDocError, *_DAMAGE) as error:
            raise faults.corrupt("is a workbook with records that cannot be read: damaged") from error
        except RecursionError as error:
            raise faults.corrupt("nests its formulas too deeply") from error
        if all(block.kind is BlockKind.HEADING for block in blocks):
            raise faults.has_no_text("none of its visible sheets has a cell with a value")
        return assemble(blocks)


class _Sheets:
    """The sheets of one workbook, read once."""

    def __init__(self) -> None:
        self._cells = 0
        self._characters = 0

    def blocks(self, content: bytes) -> Iterator[TextBlock]:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:  # where the library's warnings go
            book = xlrd.open_workbook(
                file_contents=content,
                logfile=nowhere,
                on_demand=True,
                formatting_info=True,  # number formats and merged cells
                ragged_rows=True,
            )
            for index in range(book.nsheets):
                sheet = book.sheet_by_index(index)
                if sheet.visibility == 0:
                    yield TextBlock(BlockKind.HEADING, sheet.name, 1)
                    yield from grid_blocks(self._rows(book, sheet))
                book.unload_sheet(index)

    def _rows(self, book: Any, sheet: Any) -> Iterator[list[str]]:
        """Yield the texts of the rows; cells merged over several rows repeat their value in each."""
        spread = MergedCells(_merged_ranges(sheet))
        for number in range(sheet.nrows):
            kinds = sheet.row_types(number)
            self._cells += max(len(kinds), 1)
            if self._cells > MAX_CELLS:
                raise faults.too_many_cells(MAX_CELLS)
            row = [
                _text(book, sheet.cell(number, column)) if kind not in _WITHOUT_VALUE else ""
                for column, kind in enumerate(kinds)
            ]
            spread.fill(number, row)
            self._characters += sum(map(len, row))
            require_characters(self._characters)
            yield row


def _is_encrypted(content: bytes) -> bool:
    """Whether one of the first records says that the others are encrypted."""
    position = 0
    for _ in range(_MAX_LEADING_RECORDS):
        if position + 4 > len(content):
            return False
        kind, size = struct.unpack_from("<HH", content, position)
        if kind == _FILE_PASS:
            return True
        position += 4 + size
    return False


def _merged_ranges(sheet: Any) -> dict[int, list[tuple[int, int]]]:
    """Return the ranges over several rows by first row: column and last row, all from 0."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for top, below, left, _ in sheet.merged_cells[:MAX_MERGED]:
        if below - top > 1:
            found[top].append((left, min(below - 1, top + MAX_MERGED)))
    return found


def _text(book: Any, cell: Any) -> str:
    match cell.ctype:
        case xlrd.XL_CELL_TEXT:
            return str(cell.value)
        case xlrd.XL_CELL_BOOLEAN:
            return cell_text(bool(cell.value))
        case xlrd.XL_CELL_ERROR:
            return str(xlrd.error_text_from_code.get(cell.value, ""))
        case xlrd.XL_CELL_NUMBER:
            return cell_text(cell.value, _number_format(book, cell))
        case xlrd.XL_CELL_DATE:
            return cell_text(_moment(book, cell))
        case _:
            return ""


def _number_format(book: Any, cell: Any) -> str:
    key = book.xf_list[cell.xf_index].format_key
    return str(book.format_map[key].format_str) if key in book.format_map else "General"


def _moment(book: Any, cell: Any) -> datetime | time | timedelta | float:
    """Return the day, hour or duration that a number of days stands for; the number where it is none."""
    days: float = cell.value
    if "[h" in _number_format(book, cell).lower():
        return timedelta(days=days)
    if days < 0:  # a sheet shows no such day either
        return days
    try:
        moment: datetime = xlrd.xldate.xldate_as_datetime(days, book.datemode)
    except (xlrd.xldate.XLDateError, OverflowError, ValueError):
        return days
    return moment.time() if days < 1 else moment
