"""Grids of cells, as in spreadsheets and delimited files: where their tables are, and which have a header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from ingest_worker.parse.assembly import TextBlock
from ingest_worker.parse.markdown_table import MAX_CAPTIONS, table_blocks
from rag_server.domain.document import BlockKind

_VALUE = re.compile(
    r"[-+(]?\s*[$€£¥]?\s*[-+]?(?=[\d.,]*\d)[\d.,'\u00a0\u202f]+(?:e[-+]?\d+)?\s*[%$€£¥)]*"
    r"|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T]\d{1,2}:\d{2}.*)?"
    r"|\d{1,2}:\d{2}(?::\d{2})?|true|false",
    re.IGNORECASE,
)
_MIN_WIDTH = 2
"""Of this width, a single cell in the second column is the header of that column."""
_YEAR = re.compile(r"(?:19|20)\d\d")


def grid_blocks(rows: Iterable[Sequence[str]]) -> Iterator[TextBlock]:
    """Yield the tables of a grid, which blank rows part, and the lines of text between them.

    A row of a single cell at the start of a table is its caption. Rows after a blank row that begin with data
    rather than with a header go on with the table above, where that is as wide.
    """
    table: list[Sequence[str]] = []
    for part in _parts(rows):
        goes_on = table and not has_header(part) and _width(part) <= _width(table)
        if not goes_on:
            yield from _blocks_of(table)
            table = []
        table += part
    yield from _blocks_of(table)


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of `rows` names the columns: no cell of it is a number, date or truth value.

    Years are names as often as data; they are data where the cell below is a year, too.
    """
    first, below = rows[0], rows[1] if len(rows) > 1 else ()
    for column, cell in enumerate(first):
        said = cell.strip()
        is_year = _YEAR.fullmatch(said) and not (
            column < len(below) and _YEAR.fullmatch(below[column].strip())
        )
        if _VALUE.fullmatch(said) and not is_year:
            return False
    return True


def _parts(rows: Iterable[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    """Yield the runs of rows that are not blank."""
    part: list[Sequence[str]] = []
    for row in rows:
        if any(cell.strip() for cell in row):
            part.append(row)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _blocks_of(table: list[Sequence[str]]) -> Iterator[TextBlock]:
    titles = 0
    if _width(table) > _MIN_WIDTH:  # a title may stand above the middle of its table
        titles = next((number for number, row in enumerate(table) if _filled(row) > 1), 0)
    titles = titles if titles <= MAX_CAPTIONS else 0
    for row in table[:titles]:
        yield TextBlock(BlockKind.PARAGRAPH, next(cell for cell in row if cell.strip()))
    yield from table_blocks(_with_one_header(table[titles:]), has_header=has_header)


def _with_one_header(rows: list[Sequence[str]]) -> list[Sequence[str]]:
    """Return `rows` with a header of two rows joined.

    The second names, for the most part, columns that the first does not name; data follow it.
    """
    if len(rows) <= _MIN_WIDTH or _has_values(rows[0]) or _has_values(rows[1]) or not _has_values(rows[2]):
        return rows
    pairs = list(zip_longest(rows[0], rows[1], fillvalue=""))
    named_below = sum(bool(below.strip()) for _, below in pairs)
    named_twice = sum(bool(above.strip() and below.strip()) for above, below in pairs)
    if named_below <= 1 or 2 * named_twice > named_below:
        return rows
    return [[f"{above} {below}".strip() for above, below in pairs], *rows[2:]]


def _has_values(row: Sequence[str]) -> bool:
    return not has_header([row])


def _filled(row: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


def _width(rows: Sequence[Sequence[str]]) -> int:
    return max(
        (max((n + 1 for n, cell in enumerate(row) if cell.strip()), default=0) for row in rows), default=0
    )
