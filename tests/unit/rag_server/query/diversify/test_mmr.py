from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_server.backends.protocols import Embeddings
from rag_server.domain.candidates import Scores
from rag_server.query.diversify.mmr import select_mmr
from tests.unit.rag_server.query.diversify.conftest import unit_vectors, vectors_of_any_kind

AXES = np.eye(4, dtype=np.float32)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Scores, Embeddings]:
    """Return scores, best first, and a vector for each."""
    vectors = draw(vectors_of_any_kind)
    score = st.one_of(st.integers(-2, 2).map(float), st.floats(-1e100, 1e100))
    scores = draw(st.lists(score, min_size=len(vectors), max_size=len(vectors)))
    return np.array(sorted(scores, reverse=True), np.float64), vectors


weights = st.sampled_from([0.0, 0.3, 0.7, 1.0])
counts = st.integers(1, 15)


def test_mmr_prefers_a_less_relevant_one_that_is_different() -> None:
    vectors = AXES[[0, 0, 1, 1]]
    chosen = select_mmr(np.array([1.0, 0.9, 0.6, 0.5]), vectors, relevance_weight=0.5, count=3)
    assert chosen.tolist() == [0, 2, 1]


def test_mmr_of_opposite_vectors_is_as_of_unrelated_ones() -> None:
    vectors = np.stack([AXES[0], AXES[1], -AXES[0]])
    chosen = select_mmr(np.array([1.0, 0.9, 0.8]), vectors, relevance_weight=0.1, count=3)
    assert chosen.tolist() == [0, 1, 2]


def test_mmr_of_equal_scores_and_of_nothing_works() -> None:
    assert select_mmr(np.array([3.0, 3.0, 3.0]), AXES[[0, 0, 1]], relevance_weight=0.7, count=2).tolist() == [
        0,
        2,
    ]
    nothing = select_mmr(np.array([]), np.empty((0, 4), np.float32), relevance_weight=0.7, count=2)
    assert nothing.tolist() == []


@settings(deadline=None)
@given(rankings(), weights, counts)
def test_mmr_chooses_each_once_and_the_best_first(
    ranking: tuple[Scores, Embeddings], weight: float, count: int
) -> None:
    scores, vectors = ranking
    chosen = select_mmr(scores, vectors, relevance_weight=weight, count=count).tolist()
    assert len(chosen) == len(set(chosen)) == min(count, len(scores))
    assert chosen[:1] == [0][: len(scores)]


@settings(deadline=None)
@given(rankings(), counts)
def test_mmr_of_relevance_alone_is_the_ranking(ranking: tuple[Scores, Embeddings], count: int) -> None:
    scores, vectors = ranking
    chosen = select_mmr(scores, vectors, relevance_weight=1.0, count=count)
    assert chosen.tolist() == list(range(min(count, len(scores))))


@settings(deadline=None)
@given(vectors_of_any_kind, weights, st.integers(-20, 20), st.integers(-1000, 1000))
def test_mmr_does_not_depend_on_the_scale_of_scores(
    vectors: Embeddings, weight: float, exponent: int, shift: int
) -> None:
    scores = np.arange(len(vectors), 0, -1, dtype=np.float64)
    moved = (scores + shift) * 2.0**exponent  # exact
    chosen = select_mmr(scores, vectors, relevance_weight=weight, count=20)
    assert select_mmr(moved, vectors, relevance_weight=weight, count=20).tolist() == chosen.tolist()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), weights)
def test_mmr_each_choice_is_the_best_of_those_left(seed: int, weight: float) -> None:
    vectors = unit_vectors(seed, 10, 6, 4)
    scores = np.sort(np.random.default_rng(seed).normal(size=10))[::-1]
    chosen = select_mmr(scores, vectors, relevance_weight=weight, count=10)
    relevance = (scores - scores[-1]) / (scores[0] - scores[-1])
    cosines = np.clip(vectors.astype(np.float64) @ vectors.T.astype(np.float64), 0, 1)
    for place, best in enumerate(chosen):
        similarity = cosines[:, chosen[:place]].max(axis=1, initial=0.0)
        values = weight * relevance - (1 - weight) * similarity
        assert values[best] >= values[chosen[place:]].max() - 1e-6
