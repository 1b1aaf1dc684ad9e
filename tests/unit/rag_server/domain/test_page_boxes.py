from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.page_boxes import UNITS, PageBox, TextPlaces, flattened, unflattened


@st.composite
def page_boxes(draw: st.DrawFn) -> PageBox:
    left, top = (draw(st.integers(0, UNITS - 1)) for _ in range(2))
    right, bottom = draw(st.integers(left + 1, UNITS)), draw(st.integers(top + 1, UNITS))
    return PageBox(draw(st.integers(1, 2**31 - 1)), left, top, right, bottom)


@given(st.lists(page_boxes(), max_size=5))
def test_boxes_come_back_from_their_numbers(boxes: list[PageBox]) -> None:
    assert unflattened(flattened(boxes)) == tuple(boxes)


@pytest.mark.parametrize(
    "numbers",
    [(0, 0, 0, 1, 1), (1, -1, 0, 1, 1), (1, 0, 0, UNITS + 1, 1), (1, 5, 0, 5, 1), (1, 0, 5, 1, 4)],
)
def test_box_outside_of_its_page_or_without_area_is_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no box on a page"):
        PageBox(*numbers)


def test_places_within_a_range_are_those_of_lines_with_a_part_in_it() -> None:
    places = TextPlaces()
    for start, end in ((0, 5), (5, 10), (5, 10), (12, 20)):
        places.add(start, end, 1, (0, 0, start + 1, 1))
    found = [[row[:2] for row in places.within(*asked)] for asked in ((0, 5), (4, 6), (10, 12), (19, 90))]
    assert found == [[(0, 5)], [(0, 5), (5, 10), (5, 10)], [], [(12, 20)]]
    assert len(places) == 4
    assert [box.right for *_, box in places.within(0, 99)] == [1, 6, 6, 13]
