"""Cells merged over several rows: the value, which the file has in the first of them, is meant for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MAX_MERGED = 10_000
"""Merged ranges of a sheet that are followed, and rows of one that repeat its value."""


class MergedCells:
    """The ranges of one sheet over several rows, as its rows are gone through in order."""

    def __init__(self, ranges: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """Take `ranges` by their first row: the column (from 0) and the last row of each."""
        self._ranges = ranges
        self._going_on: dict[int, tuple[int, str]] = {}
        """Of a column: the last row that repeats the text."""

    def fill(self, number: int, row: list[str]) -> None:
        """Put the texts that come from above into the empty cells of `row`; blank rows stay blank."""
        if any(row):
            for column in [column for column, (last, _) in self._going_on.items() if last < number]:
                del self._going_on[column]
            for column, (_, text) in self._going_on.items():
                if column < len(row) and not row[column]:
                    row[column] = text
        for column, last in self._ranges.get(number, ()):
            if column < len(row) and row[column]:
                self._going_on[column] = last, row[column]
