from __future__ import annotations

import time

import pytest

from rag_server.timing import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the time, in nanoseconds, as the only item of a list that the test changes."""
    now = [0]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    return now


def test_stopwatch_stages_are_microseconds_in_the_order_they_began(clock: list[int]) -> None:
    watch = Stopwatch()
    with watch.stage("outer"):
        clock[0] += 5_000
        with watch.stage("inner"):
            clock[0] += 2_000
    assert list(watch.timings().items()) == [("outer", 7), ("inner", 2), ("total", 7)]


def test_stopwatch_stage_run_twice_adds_up(clock: list[int]) -> None:
    watch = Stopwatch()
    for _ in range(2):
        with watch.stage("a"):
            clock[0] += 3_000
        clock[0] += 1_000
    assert watch.timings() == {"a": 6, "total": 8}


def test_stopwatch_stage_that_raises_is_counted(clock: list[int]) -> None:
    watch = Stopwatch()

    def fail() -> None:
        with watch.stage("a"):
            clock[0] += 4_000
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert watch.timings()["a"] == 4


def test_stopwatch_add_takes_over_the_stages_of_shared_work(clock: list[int]) -> None:
    watch, shared = Stopwatch(), Stopwatch()
    with watch.stage("embed"):
        clock[0] += 1_000
    with shared.stage("embed"):
        clock[0] += 2_000
    with shared.stage("other"):
        clock[0] += 4_000
    watch.add(shared)
    assert watch.timings() == {"embed": 3, "other": 4, "total": 7}
