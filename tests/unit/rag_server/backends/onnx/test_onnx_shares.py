"""Rows cut into shares."""

from __future__ import annotations

import threading

import pytest

from rag_server.backends.onnx.shares import Shares


@pytest.mark.parametrize(
    ("thread_count", "row_count", "sizes"),
    [(1, 5, [5]), (2, 5, [2, 3]), (3, 5, [1, 2, 2]), (8, 3, [1, 1, 1]), (4, 1, [1]), (4, 0, [0])],
)
def test_parts_are_consecutive_and_of_about_one_size(
    thread_count: int, row_count: int, sizes: list[int]
) -> None:
    parts = Shares(thread_count).parts(row_count)
    assert [part.stop - part.start for part in parts] == sizes
    assert [row for part in parts for row in range(row_count)[part]] == list(range(row_count))


def test_map_works_on_all_parts_at_once_and_keeps_their_order() -> None:
    shares = Shares(3)
    barrier = threading.Barrier(3, timeout=30)

    def work(part: slice) -> int:
        barrier.wait()
        return int(part.start)

    assert shares.map(work, shares.parts(9)) == [0, 3, 6]


@pytest.mark.parametrize("failing", [0, 1])
def test_map_waits_for_the_other_parts_before_it_raises(failing: int) -> None:
    shares = Shares(2)
    failed = threading.Event()
    ended: list[int] = []

    def work(part: slice) -> int:
        if part.start == failing:
            failed.set()
            raise KeyError(failing)
        assert failed.wait(30)
        ended.append(part.start)
        return part.start

    with pytest.raises(KeyError):
        shares.map(work, shares.parts(2))
    assert ended == [1 - failing]
