"""XLSX: each visible sheet is a heading with its tables (openpyxl, read row by row)."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import openpyxl
from lxml import etree
from openpyxl.utils import range_boundaries
from openpyxl.utils.exceptions import InvalidFileException

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.cell_text import cell_text
from ingest_worker.parse.grid import grid_blocks
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.merged_cells import MAX_MERGED, MergedCells
from ingest_worker.parse.ooxml import OoxmlPackage
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

MAX_CELLS = 10_000_000
"""Of a document, with the empty ones before the last of each row: some 20 seconds of reading."""
DAMAGE = (
    *(OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, AssertionError),
    *(SyntaxError, zipfile.BadZipFile, InvalidFileException, etree.LxmlError),
)
"""What openpyxl raises for parts that are not as they should be; its XML errors are `SyntaxError`."""
_RELATION_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_MERGED = re.compile(
    rb"<(?:\w+:)?mergeCell\b[^>]{0,100}?\bref=[\"']([A-Z]{1,3}\d{1,7}:[A-Z]{1,3}\d{1,7})[\"']"
)


class XlsxParser:
    """Parser of XLSX: the values that formulas had when the file was saved. Hidden sheets are left out."""

    media_types = frozenset({MediaType.XLSX})

    def parse(self, data: bytes) -> ParsedDocument:
        package = OoxmlPackage(data)
        package.main_part()
        blocks: list[TextBlock] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what it leaves out: drawings, extensions, odd styles
                blocks = list(_Sheets(package).blocks())
        except DAMAGE as error:
            raise faults.corrupt("is a workbook with parts that cannot be read: damaged") from error
        except RecursionError as error:
            raise faults.corrupt("nests its elements too deeply") from error
        if all(block.kind is BlockKind.HEADING for block in blocks):
            raise faults.has_no_text("none of its visible sheets has a cell with a value")
        return assemble(blocks, title=package.title())


class _Sheets:
    """The sheets of one workbook, read once."""

    def __init__(self, package: OoxmlPackage) -> None:
        self._package = package
        self._cells = 0
        self._characters = 0

    def blocks(self) -> Iterator[TextBlock]:
        merged = self._merged_ranges()
        workbook = openpyxl.load_workbook(
            self._package.without_media(), read_only=True, data_only=True, keep_links=False
        )
        try:
            sheets: list[Any] = workbook.worksheets  # those of a read-only workbook have more methods
            for sheet in sheets:
                if sheet.sheet_state == "visible":
                    sheet.reset_dimensions()  # a sheet may declare a million empty rows
                    yield TextBlock(BlockKind.HEADING, sheet.title, 1)
                    yield from grid_blocks(self._rows(sheet, merged.get(sheet.title, {})))
        finally:
            workbook.close()

    def _rows(self, sheet: Any, merged: dict[int, list[tuple[int, int]]]) -> Iterator[list[str]]:
        """Yield the texts of the rows; cells merged over several rows repeat their value in each."""
        spread = MergedCells(merged)
        for number, cells in enumerate(sheet.iter_rows(), 1):
            self._cells += max(len(cells), 1)
            if self._cells > MAX_CELLS:
                raise faults.too_many_cells(MAX_CELLS)
            row = [
                cell_text(cell.value, cell.number_format) if cell.value is not None else "" for cell in cells
            ]
            spread.fill(number, row)
            self._characters += sum(map(len, row))
            require_characters(self._characters)
            yield row

    def _merged_ranges(self) -> dict[str, dict[int, list[tuple[int, int]]]]:
        """Return the ranges over several rows by sheet and first row: column (from 0) and last row.

        The reader of rows does not tell: the ranges come after the rows in the file.
        """
        ranges: dict[str, dict[int, list[tuple[int, int]]]] = {}
        for title, content in _sheets(self._package):
            found: dict[int, list[tuple[int, int]]] = defaultdict(list)
            after_rows = max(content.rfind(b"sheetData>"), 0)
            for count, match in enumerate(_MERGED.finditer(content, after_rows)):
                if count >= MAX_MERGED:
                    break
                left, top, _, bottom = range_boundaries(match[1].decode())
                if left is None or top is None or bottom is None:
                    continue  # whole rows or columns: there is nothing to repeat
                if bottom > top:
                    found[top].append((left - 1, min(bottom, top + MAX_MERGED)))
            ranges[title] = found
        return ranges


def _sheets(package: OoxmlPackage) -> Iterator[tuple[str, bytes]]:
    """Yield the title and the XML of each sheet."""
    main = package.main_part()
    workbook = package.part(main)
    targets = package.targets(main)
    for sheet in [] if workbook is None else workbook.iterfind("{*}sheets/{*}sheet"):
        target = targets.get(sheet.get(_RELATION_ID) or "")
        if target:
            yield sheet.get("name") or "", package.content(target)
