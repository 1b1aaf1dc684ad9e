"""Tables as Markdown rows (GitHub Flavored Markdown, section 4.10): the one form that all formats share.

The chunker knows the header of a table by the delimiter row under it, and repeats both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from ingest_worker.parse.assembly import TextBlock
from rag_server.domain.document import BlockKind

_DELIMITER = re.compile(r"^[ \t]*+\|?(?:[ \t]*+:?-++:?[ \t]*+\|)*+[ \t]*+(?::?-++:?[ \t]*+)?$")
MAX_CAPTIONS = 4
"""More rows of one cell are a column of data."""
HasHeader = Callable[[Sequence[Sequence[str]]], bool]


def table_blocks(
    rows: Iterable[Sequence[str]], *, has_header: HasHeader = lambda rows: True, page: int | None = None
) -> Iterator[TextBlock]:
    """Yield the table of `rows`, the first of which is its header, after captions: rows of one cell.

    `has_header` tells of the rows without captions whether the first of them is a header indeed.

    Rows and columns without text are left out, and empty cells at the end of a row.
    """
    filled = _without_empty(rows)
    count = captions(filled)
    for row in filled[:count]:
        yield TextBlock(BlockKind.PARAGRAPH, row[0], page=page)
    filled = filled[count:]
    if filled:
        yield TextBlock(BlockKind.TABLE, markdown_table(filled, has_header=has_header(filled)), page=page)


def captions(rows: Sequence[Sequence[str]]) -> int:
    """Return how many of `rows`, all with text, are captions above a table, or lines of text and no table."""
    count = next((number for number, row in enumerate(rows) if _is_table_row(row)), len(rows))
    return count if count <= MAX_CAPTIONS else 0


def markdown_table(rows: Sequence[Sequence[str]], *, has_header: bool = True) -> str:
    """Return `rows`, of which there is at least one, as a table; its header is the first row, or blank.

    The header is as wide as the widest row; other rows keep the number of their cells, as the format allows.
    """
    width = max(map(len, rows))
    header, body = (rows[0], rows[1:]) if has_header else ((), rows)
    padded = [*header, *[""] * (width - len(header))]
    return "\n".join([_line(padded), _line(["---"] * width), *map(_line, body)])


def header_end(table: str) -> int:
    """Return where the first row after the delimiter row of `table` starts, 0 where there is none."""
    first = table.find("\n") + 1
    end = table.find("\n", first) + 1
    if not first or not end:
        return 0
    line = table[first : end - 1]
    return end if "-" in line and "|" in line and _DELIMITER.match(line) else 0


def _is_table_row(row: Sequence[str]) -> bool:
    """Whether `row` has text beyond its first cell, which the header of a table may lack."""
    return any(cell.strip() for cell in row[1:])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(cell: str) -> str:
    """Return `cell` on one line; a bar within it would end it."""
    return " ".join(cell.split()).replace("|", "\\|")


def _without_empty(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    filled = [list(row) for row in rows if any(cell.strip() for cell in row)]
    for row in filled:
        while not row[-1].strip():
            row.pop()
    used: set[int] = set()
    for row in filled:
        used.update(column for column, cell in enumerate(row) if cell.strip())
    if len(used) == max(used, default=-1) + 1:
        return filled
    return [[cell for column, cell in enumerate(row) if column in used] for row in filled]
