from __future__ import annotations

import numpy as np

from rag_server.domain.page_boxes import PageBox
from rag_server.query.resident.boxes import Boxes, concatenate_boxes

ONE, TWO, THREE = (PageBox(page, 1, 2, 3, 4) for page in (1, 2, 70_000))
PASSAGES = [(), (ONE, TWO), (), (THREE,)]


def all_of(boxes: Boxes) -> list[tuple[PageBox, ...]]:
    return list(boxes.at(np.arange(len(boxes.ends))))


def test_boxes_come_back_as_they_were_in_any_order() -> None:
    boxes = Boxes.of(PASSAGES)
    assert all_of(boxes) == PASSAGES
    assert list(boxes.at(np.array([3, 0, 1]))) == [(THREE,), (), (ONE, TWO)]


def test_boxes_concatenated_are_those_of_the_chosen_passages() -> None:
    one, other = Boxes.of(PASSAGES), Boxes.of([(), ()])
    parts = [
        (one, np.array([3, 1])),
        (other, np.array([1])),
        (one, np.array([2, 1])),
        (one, np.zeros(0, int)),
    ]
    assert all_of(concatenate_boxes(parts)) == [(THREE,), (ONE, TWO), (), (), (ONE, TWO)]
    assert all_of(concatenate_boxes([])) == []


def test_boxes_from_their_arrays_are_the_same() -> None:
    arrays = Boxes.of(PASSAGES).arrays()
    assert not any(array.dtype.hasobject for array in arrays.values())
    assert all_of(Boxes.from_arrays(arrays, 4)) == PASSAGES


def test_files_of_before_there_were_boxes_have_none() -> None:
    assert all_of(Boxes.from_arrays({}, 3)) == [(), (), ()]
