"""A sheet of a workbook as a table: the values that formulas had when the file was saved."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import openpyxl

from ingest_worker.parse import faults
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.normalize import normalize
from ingest_worker.parse.ooxml import OoxmlPackage
from ingest_worker.parse.records.grid_rows import grid_table
from ingest_worker.parse.records.table import Cell, Table
from ingest_worker.parse.xlsx import DAMAGE, MAX_CELLS
from rag_server.errors import InvalidArgument

_MAX_SHEETS_NAMED = 20


def sheet_table(data: bytes, name: str) -> Table:
    """Return the table of the sheet `name`, or of the first visible one. Merged cells have their value once.

    Raises `InvalidArgument` (`RECORD_SHEET_NOT_FOUND`, `DOCUMENT_CORRUPT`, `DOCUMENT_ENCRYPTED`) and
    `ResourceExhausted` (`DOCUMENT_TOO_LARGE`); reading the rows raises the latter, too.
    """
    package = OoxmlPackage(data)
    package.main_part()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it leaves out: drawings, extensions, odd styles
            workbook = openpyxl.load_workbook(
                package.without_media(), read_only=True, data_only=True, keep_links=False
            )
    except DAMAGE as error:
        raise _damaged() from error
    sheets: list[Any] = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
    for sheet in sheets:
        if not name or sheet.title == name:
            sheet.reset_dimensions()  # a sheet may declare a million empty rows
            return grid_table(_rows(sheet))
    titles = ", ".join(repr(sheet.title) for sheet in sheets[:_MAX_SHEETS_NAMED])
    raise InvalidArgument(
        "RECORD_SHEET_NOT_FOUND",
        f"the workbook has no visible sheet {name!r}; it has {titles or 'none'}",
        metadata={"sheet": name, "sheets": titles},
    )


def _rows(sheet: Any) -> Iterator[tuple[int, list[Cell | None]]]:
    count = characters = 0
    try:
        for number, cells in enumerate(sheet.iter_rows(), 1):
            count += max(len(cells), 1)
            if count > MAX_CELLS:
                raise faults.too_many_cells(MAX_CELLS)
            row = [None if cell.value is None else _cell(cell.value, cell.number_format) for cell in cells]
            characters += sum(len(cell.value) for cell in row if cell and isinstance(cell.value, str))
            require_characters(characters)
            yield number, row
    except DAMAGE as error:
        raise _damaged() from error


def _cell(value: object, number_format: str) -> Cell | None:
    if isinstance(value, str):
        value = normalize(value).strip()
        return Cell(value) if value else None
    return Cell(value, number_format or "General")


def _damaged() -> InvalidArgument:
    return faults.corrupt("is a workbook with parts that cannot be read: damaged")
