"""A table as all formats give it: names of columns, then rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ingest_worker.parse.cell_text import cell_text
from rag_server.domain.job_items import ItemError


@dataclass(frozen=True, slots=True)
class Cell:
    """One value."""

    value: object
    """As the format has it: text, number, boolean, date, list; never None."""
    number_format: str = "General"
    """Of a spreadsheet."""

    @property
    def text(self) -> str:
        """What a reader sees."""
        match self.value:
            case str():
                return self.value
            case bool():
                return "true" if self.value else "false"
            case list() if all(isinstance(each, str) for each in self.value):
                return ", ".join(self.value)
            case list() | dict():
                return json.dumps(self.value, ensure_ascii=False)
            case _:
                return cell_text(self.value, self.number_format)


@dataclass(frozen=True, slots=True)
class Row:
    """One row that is not blank."""

    number: int
    """As the file counts: rows of a sheet or lines of JSON from 1, the header included."""
    cells: Mapping[str, Cell]
    """By column; those without a value are left out."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; the rows are read as they are asked for, once."""

    columns: tuple[str, ...]
    """Distinct, in their order."""
    repeated: frozenset[str]
    """Names that more than one column has: which one is meant cannot be told."""
    rows: Iterator[Row | RowFailure]


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A row that cannot be read as one."""

    number: int
    error: ItemError


def item_error(
    number: int, reason: str, problem: str, metadata: Mapping[str, str] | None = None
) -> ItemError:
    """Return why row `number` is left out; `problem` completes `row 7: ...`."""
    item = f"row {number}"
    return ItemError(item, reason, f"{item}: {problem}", {"row": str(number), **(metadata or {})})
