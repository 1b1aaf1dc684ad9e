from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_server.backends.protocols import Embeddings
from rag_server.query.diversify.near_duplicates import ROUNDING, without_near_duplicates
from tests.unit.rag_server.query.diversify.conftest import unit_vectors, vectors_of_any_kind

AXES = np.eye(4, dtype=np.float32)
similarities = st.sampled_from([0.0, 0.3, 0.8, 0.95, 1.0])


def test_near_duplicates_only_the_best_ranked_stays() -> None:
    vectors = AXES[[0, 1, 0, 1, 2]]
    found = without_near_duplicates(vectors, min_similarity=0.99, count=10)
    assert found.kept.tolist() == [0, 1, 4]
    assert found.dropped.tolist() == [2, 3]
    assert found.duplicate_of.tolist() == [0, 1]


def test_near_duplicates_are_looked_for_no_further_than_needed() -> None:
    found = without_near_duplicates(AXES[[0, 0, 1, 0, 2]], min_similarity=0.9, count=2)
    assert found.kept.tolist() == [0, 2]
    assert found.dropped.tolist() == [1]  # the one at 3 was never looked at


def test_near_duplicates_of_what_was_dropped_stay() -> None:
    angles = np.radians([0, 20, 40])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = without_near_duplicates(vectors, min_similarity=0.9, count=3)  # cos 20 > .9 > cos 40
    assert found.kept.tolist() == [0, 2]
    assert found.duplicate_of.tolist() == [0]


@pytest.mark.parametrize("seed", range(20))
def test_near_duplicates_equal_vectors_are_so_at_a_threshold_of_one(seed: int) -> None:
    vectors = np.repeat(unit_vectors(seed, 1, 1024, 1), 2, axis=0)
    found = without_near_duplicates(vectors, min_similarity=1.0, count=2)
    assert found.kept.tolist() == [0]


@settings(deadline=None)
@given(vectors_of_any_kind, similarities, st.integers(1, 12))
def test_near_duplicates_no_pair_that_stays_is_similar(
    vectors: Embeddings, similarity: float, count: int
) -> None:
    found = without_near_duplicates(vectors, min_similarity=similarity, count=count)
    exact = vectors.astype(np.float64)
    kept = exact[found.kept]
    pairs = (kept @ kept.T)[np.triu_indices(len(kept), 1)]
    assert np.all(pairs < similarity)
    if len(found.dropped):
        products = np.einsum("id,id->i", exact[found.dropped], exact[found.duplicate_of])
        assert np.all(products >= similarity - 2 * ROUNDING)
        assert np.all(found.duplicate_of < found.dropped)
        assert set(found.duplicate_of.tolist()) <= set(found.kept.tolist())


@settings(deadline=None)
@given(vectors_of_any_kind, similarities, st.integers(1, 12))
def test_near_duplicates_every_candidate_looked_at_is_kept_or_dropped(
    vectors: Embeddings, similarity: float, count: int
) -> None:
    found = without_near_duplicates(vectors, min_similarity=similarity, count=count)
    seen = sorted([*found.kept.tolist(), *found.dropped.tolist()])
    assert seen == list(range(len(seen)))
    assert len(found.kept) == count or len(seen) == len(vectors)
    assert len(found.kept) <= count
    if len(vectors):
        assert found.kept[0] == 0
