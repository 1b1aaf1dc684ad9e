from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.box_merging import merged, union
from rag_server.domain.page_boxes import Edges


def lines(count: int, *, left: int = 100, top: int = 1000, width: int = 4000) -> list[Edges]:
    return [(left, top + 150 * n, left + width, top + 150 * n + 100) for n in range(count)]


def test_lines_of_a_paragraph_become_one_box() -> None:
    assert merged(lines(3)) == [(100, 1000, 4100, 1400)]


def test_text_that_goes_on_in_another_column_has_a_box_there() -> None:
    columns = [*lines(2, top=8000), *lines(2, left=5000)]
    assert merged(columns) == [(100, 8000, 4100, 8250), (5000, 1000, 9000, 1250)]


def test_a_wide_gap_between_lines_begins_a_box() -> None:
    assert len(merged([*lines(1), *lines(1, top=1201)])) == 2
    assert len(merged([*lines(1), *lines(1, top=1200)])) == 1


def test_pieces_of_one_line_become_one_box() -> None:
    assert merged([(100, 50, 300, 80), (320, 55, 700, 90)]) == [(100, 50, 700, 90)]
    assert len(merged([(100, 50, 110, 80), (320, 55, 330, 90)])) == 2


def test_lines_from_top_to_bottom_become_one_box() -> None:
    turned = [(top, left, bottom, right) for left, top, right, bottom in lines(3)]
    assert merged(turned) == [(1000, 100, 1400, 4100)]


def test_short_last_line_keeps_the_width_of_the_others() -> None:
    assert merged([*lines(2), *lines(1, top=1300, width=10)]) == [(100, 1000, 4100, 1400)]


def test_nothing_has_no_boxes() -> None:
    assert merged([]) == []


@given(st.lists(st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(51, 99)] * 2), max_size=8))
def test_every_box_lies_in_one_that_is_returned(boxes: list[Edges]) -> None:
    found = merged(boxes)
    assert len(found) <= len(boxes)
    assert all(any(union(each, box) == each for each in found) for box in boxes)
