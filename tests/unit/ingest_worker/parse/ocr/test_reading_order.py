from __future__ import annotations

import random

import pytest

from ingest_worker.parse.ocr.reading_order import reading_order
from ingest_worker.parse.ocr.recogniser import TextBox


def box(text: str, left: float, top: float, right: float, height: float = 20.0) -> TextBox:
    return TextBox(text, left, top, right, top + height)


TITLE = box("title", 100, 50, 900, 40)
LEFT = [box(f"left {n}", 100, 200 + 30 * n, 480) for n in range(6)]
RIGHT = [box(f"right {n}", 520, 205 + 30 * n, 900) for n in range(6)]
FOOT = box("foot", 100, 600, 900)


@pytest.mark.parametrize("seed", range(5))
def test_columns_are_read_one_after_the_other_between_title_and_foot(seed: int) -> None:
    expected = [TITLE, *LEFT, *RIGHT, FOOT]
    shuffled = random.Random(seed).sample(expected, len(expected))  # noqa: S311 - an order
    assert reading_order(shuffled) == expected


def test_two_ends_of_one_line_stay_together() -> None:
    above, first, second, below = (
        box("above", 100, 10, 900),
        box("name", 100, 40, 200),
        box("value", 700, 43, 900),
        box("below", 100, 70, 900),
    )
    assert reading_order([below, second, above, first]) == [above, first, second, below]


def test_a_narrow_gap_is_no_gutter() -> None:
    words = [
        box(f"{row} {side}", 100 + 110 * side, 30 * row, 200 + 110 * side)
        for row in range(3)
        for side in (0, 1)
    ]
    assert reading_order(words[::-1]) == words


def test_lines_of_a_skewed_page_that_leave_no_gap_are_read_row_by_row() -> None:
    lines = [box(f"line {n}", 100, 18 * n, 900) for n in range(10)]
    assert reading_order(lines[::-1]) == lines


def test_many_lines_neither_are_lost_nor_recurse_without_end() -> None:
    lines = [box(str(n), 100 + n % 7, 25 * n, 900) for n in range(3000)]
    assert reading_order(lines[::-1]) == lines


def test_no_boxes_have_no_order() -> None:
    assert reading_order([]) == []
