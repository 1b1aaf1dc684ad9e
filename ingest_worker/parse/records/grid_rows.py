"""Grids with a header, of delimited files and sheets: the first row that is not blank names the columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from ingest_worker.parse.assembly import one_line
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.delimited import read_rows
from ingest_worker.parse.normalize import normalize
from ingest_worker.parse.records.table import Cell, Row, RowFailure, Table, item_error

_MALFORMED = "RECORD_MALFORMED"
_Cells = Sequence[Cell | None]


def delimited_table(data: bytes) -> Table:
    """Return the table of a CSV or TSV file. Raises as `delimited.read_rows` and `decode_text`."""
    rows = read_rows(normalize(decode_text(data)))
    return grid_table((number, [_cell(text) for text in row]) for number, row in enumerate(rows, 1))


def grid_table(rows: Iterator[tuple[int, _Cells]]) -> Table:
    """Return the table that numbered rows make; blank ones are passed over."""
    filled = ((number, cells) for number, cells in rows if any(cell is not None for cell in cells))
    _, header = next(filled, (0, []))
    names = ["" if cell is None else one_line(cell.text) for cell in header]
    counts = Counter(name for name in names if name)
    repeated = frozenset(name for name, count in counts.items() if count > 1)
    return Table(tuple(counts), repeated, (_row(number, cells, names) for number, cells in filled))


def _row(number: int, cells: _Cells, names: Sequence[str]) -> Row | RowFailure:
    width = max((place for place, cell in enumerate(cells, 1) if cell is not None), default=0)
    if width > len(names):
        problem = (
            f"has {width} cells, but there are {len(names)} columns; put cells with delimiters in quotes"
        )
        return RowFailure(number, item_error(number, _MALFORMED, problem))
    named = zip_longest(names, cells[: len(names)])
    return Row(number, {name: cell for name, cell in named if name and cell is not None})


def _cell(text: str) -> Cell | None:
    stripped = text.strip()
    return Cell(stripped) if stripped else None
