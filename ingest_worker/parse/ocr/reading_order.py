"""`reading_order`: lines of a page as a reader takes them, by columns (recursive XY cut).

Source: Nagy, Seth and Viswanathan, "A prototype document image analysis system for technical journals",
Computer 25(7), 1992. A block is cut at a gutter that runs through all of it, and its left part read first;
without a gutter it is cut at its widest gap between lines. A gutter needs lines one below the other at both
of its sides, so that the two ends of one line stay together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from ingest_worker.parse.ocr.recogniser import TextBox

_GUTTER_HEIGHTS = 0.75
"""Least width of a gutter, in usual heights of a line."""
_MAX_DEPTH = 100
"""Of cuts within cuts. What is left then is read line by line."""


def reading_order(boxes: Sequence[TextBox]) -> list[TextBox]:
    """Return `boxes` in the order in which they are read."""
    if not boxes:
        return []
    return _ordered(list(boxes), _GUTTER_HEIGHTS * median(box.height for box in boxes), 0)


def _ordered(boxes: list[TextBox], gutter: float, depth: int) -> list[TextBox]:
    if len(boxes) == 1 or depth == _MAX_DEPTH:
        return _rows(boxes)
    columns = _cut(boxes, lambda box: (box.left, box.right), gutter)
    has_columns = columns is not None and min(map(_row_count, columns)) > 1
    parts = columns if has_columns else _cut(boxes, lambda box: (box.top, box.bottom), 0.0)
    if parts is None:
        return _rows(boxes)
    return [box for part in parts for box in _ordered(part, gutter, depth + 1)]


def _cut(
    boxes: Sequence[TextBox], extent: Callable[[TextBox], tuple[float, float]], least: float
) -> tuple[list[TextBox], list[TextBox]] | None:
    """Return the parts before and after the widest gap of more than `least` pixels, or None without one."""
    ordered = sorted(boxes, key=extent)
    widest, place = least, 0
    reached = extent(ordered[0])[1]
    for index, box in enumerate(ordered):
        start, end = extent(box)
        if start - reached > widest:
            widest, place = start - reached, index
        reached = max(reached, end)
    return (ordered[:place], ordered[place:]) if place else None


def _row_count(boxes: Sequence[TextBox]) -> int:
    """Return how many boxes lie below the whole of the one before."""
    count, reached = 0, float("-inf")
    for box in sorted(boxes, key=lambda box: box.top):
        if (box.top + box.bottom) / 2 > reached:
            count, reached = count + 1, box.bottom
    return count


def _rows(boxes: Sequence[TextBox]) -> list[TextBox]:
    """Return boxes row by row: a row are those that reach over the middle of its first one."""
    rows: list[list[TextBox]] = []
    for box in sorted(boxes, key=lambda box: box.top):
        first = rows[-1][0] if rows else None
        if first is not None and box.top < (first.top + first.bottom) / 2:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [box for row in rows for box in sorted(row, key=lambda box: box.left)]
