"""Cells of HTML tables by row and column, and which tables only lay out a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lxml import etree

from ingest_worker.parse.limits import require_characters

_GROUPS = {"thead", "tbody", "tfoot"}
_ROWS = {"tr", "row"}
_CELLS = {"td", "th", "cell"}
_MAX_SPAN = 100
"""Columns or rows that one cell may cover."""
_CELL_CHARACTERS = 3
"""What a cell adds to a row besides its text."""


def is_layout(table: etree._Element) -> bool:
    """Whether `table` is a frame for parts of the page: it has one cell, or other tables in its cells."""
    cells = [cell for row in _rows(table) for cell in _cells(row)]
    return len(cells) == 1 or next(table.iterdescendants("table"), None) is not None


def table_rows(table: etree._Element, text_of: Callable[[etree._Element], str]) -> list[list[str]]:
    """Return the texts of the cells of `table`, row by row.

    A cell over several rows repeats its text in each; so does one over several columns in each,
    unless it is all of its row.
    Raises `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) before the repetitions are more text than one document
    may have.
    """
    rows: list[list[str]] = []
    above: dict[int, tuple[int, str]] = {}  # of a column: rows that still repeat the text of a cell
    characters = 0
    for row in _rows(table):
        texts: list[str] = []
        cells = list(_cells(row))
        for cell in cells:
            _fill(texts, above)
            text = text_of(cell)
            width, height = _span(cell, "colspan"), _span(cell, "rowspan")
            for number in range(width):
                shown = text if not number or len(cells) > 1 else ""
                if height > 1:
                    above[len(texts)] = height - 1, shown
                texts.append(shown)
        _fill(texts, above)
        characters += sum(len(text) + _CELL_CHARACTERS for text in texts)
        require_characters(characters)
        rows.append(texts)
    return rows


def captions(table: etree._Element) -> Iterator[etree._Element]:
    """Yield the captions of `table`."""
    return (child for child in table if child.tag == "caption")


def _fill(texts: list[str], above: dict[int, tuple[int, str]]) -> None:
    """Append what cells from the rows above put into the next columns."""
    while len(texts) in above:
        column = len(texts)
        left, text = above.pop(column)
        if left > 1:
            above[column] = left - 1, text
        texts.append(text)


def _rows(table: etree._Element) -> Iterator[etree._Element]:
    for child in table:
        if child.tag in _ROWS:
            yield child
        elif child.tag in _GROUPS:
            yield from (row for row in child if row.tag in _ROWS)


def _cells(row: etree._Element) -> Iterator[etree._Element]:
    return (cell for cell in row if cell.tag in _CELLS)


def _span(cell: etree._Element, name: str) -> int:
    value = (cell.get(name) or "").strip()
    return min(max(int(value), 1), _MAX_SPAN) if value.isdecimal() and len(value) < _MAX_SPAN else 1
