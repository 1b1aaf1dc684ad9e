from __future__ import annotations

import numpy as np

from rag_server.backends.onnx.batching import plan_windows


def test_plan_windows_flattens_the_windows_of_all_texts_in_order() -> None:
    plan = plan_windows([[[2, 7, 3]], [[2, 3]], [[2, 7, 7, 3], [2, 7, 3]]], special_token_count=2)
    assert plan.windows == ([2, 7, 3], [2, 3], [2, 7, 7, 3], [2, 7, 3])
    assert plan.counts == (1, 1, 2)


def test_merge_several_windows_gives_their_weighted_mean_at_unit_length() -> None:
    plan = plan_windows([[[1, 5, 5, 5, 2], [1, 5, 2]], [[1, 5, 2]]], special_token_count=2)
    merged = plan.merge([np.array(row, np.float32) for row in ([1, 0], [0, 1], [0, -1])])
    np.testing.assert_allclose(merged, [[3 / 10**0.5, 1 / 10**0.5], [0, -1]], rtol=1e-6)
    assert merged.dtype == np.float32


def test_merge_window_without_content_still_weighs_something() -> None:
    plan = plan_windows([[[1, 2], [1, 5, 2]]], special_token_count=2)
    merged = plan.merge([np.array(row, np.float32) for row in ([1, 0], [0, 1])])
    np.testing.assert_allclose(merged, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)


def test_merge_single_windows_returns_their_vectors() -> None:
    plan = plan_windows([[[1, 2]], [[1, 5, 2]]], special_token_count=2)
    np.testing.assert_array_equal(plan.merge(list(np.eye(2, dtype=np.float32))), np.eye(2))
