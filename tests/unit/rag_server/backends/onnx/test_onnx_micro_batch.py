from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag_server.backends.onnx.micro_batch import RUN_OVERHEAD_TOKENS, choose_run

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80).map(lambda given: sorted(given, reverse=True))


def worth(lengths: list[int], run: slice) -> float:
    rows = lengths[run]
    return sum(rows) / (RUN_OVERHEAD_TOKENS + len(rows) * rows[0])


@given(LENGTHS, st.data(), st.integers(1, 200))
def test_choose_run_any_lengths_has_the_anchor_and_keeps_the_budget(
    lengths: list[int], data: st.DataObject, budget: int
) -> None:
    anchor = data.draw(st.integers(0, len(lengths) - 1))
    run = choose_run(lengths, anchor, batch_tokens=budget)
    assert run.start <= anchor < run.stop <= len(lengths)
    count = run.stop - run.start
    assert count == 1 or count * lengths[run.start] <= budget


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.data(), st.integers(30, 200))
def test_choose_run_wastes_least_of_all_runs_with_the_anchor(
    lengths: list[int], data: st.DataObject, budget: int
) -> None:
    lengths.sort(reverse=True)
    anchor = data.draw(st.integers(0, len(lengths) - 1))
    run = choose_run(lengths, anchor, batch_tokens=budget)
    for start in range(anchor + 1):
        for stop in range(anchor + 1, len(lengths) + 1):
            if (stop - start) * lengths[start] <= budget:
                assert worth(lengths, run) >= worth(lengths, slice(start, stop)) - 1e-12


def test_choose_run_equal_lengths_fill_the_budget() -> None:
    assert choose_run([4] * 40, 0, batch_tokens=64) == slice(0, 16)
    assert choose_run([4] * 40, 39, batch_tokens=64) == slice(24, 40)


def test_choose_run_short_query_is_not_padded_to_a_long_one() -> None:
    assert choose_run([250, 12, 11], 0, batch_tokens=512) == slice(0, 1)
    assert choose_run([250, 12, 11], 2, batch_tokens=512) == slice(1, 3)


def test_choose_run_window_beyond_the_budget_runs_alone() -> None:
    assert choose_run([600, 600, 500], 1, batch_tokens=512) == slice(1, 2)
