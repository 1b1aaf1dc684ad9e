from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag_server.backends.onnx.batching import merge, pack, plan_windows


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 120))
def test_pack_any_windows_each_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = pack([[0] * length for length in lengths], batch_tokens=budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
    ordered = [lengths[index] for batch in batches for index in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_pack_equal_lengths_fills_batches_in_order() -> None:
    assert pack([[0] * 4] * 5, batch_tokens=8) == [[0, 1], [2, 3], [4]]


def test_plan_windows_flattens_with_owners_and_content_weights() -> None:
    plan = plan_windows([[[2, 7, 3]], [[2, 3]], [[2, 7, 7, 3], [2, 7, 3]]], special_token_count=2)
    assert plan.windows == ([2, 7, 3], [2, 3], [2, 7, 7, 3], [2, 7, 3])
    assert plan.owners.tolist() == [0, 1, 2, 2]
    assert plan.weights.tolist() == [1, 1, 2, 1]  # a window without content still weighs something
    assert plan.text_count == 3
    assert plan.token_count == 12


def test_merge_several_windows_gives_their_weighted_mean_at_unit_length() -> None:
    plan = plan_windows([[[1, 5, 5, 5, 2], [1, 5, 2]], [[1, 5, 2]]], special_token_count=2)
    merged = merge(plan, np.array([[1, 0], [0, 1], [0, -1]], np.float32))
    np.testing.assert_allclose(merged, [[3 / 10**0.5, 1 / 10**0.5], [0, -1]], rtol=1e-6)
    assert merged.dtype == np.float32


def test_merge_single_windows_returns_them_untouched() -> None:
    plan = plan_windows([[[1, 2]], [[1, 5, 2]]], special_token_count=2)
    vectors = np.eye(2, dtype=np.float32)
    assert merge(plan, vectors) is vectors
