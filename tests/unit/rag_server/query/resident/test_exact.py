"""Exact search against the plainest ranking, and what its kernel refuses."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.query.resident import exact
from tests.unit.rag_server.query.resident.dense_vectors import Floats, texts_like, unit


@st.composite
def searches(draw: st.DrawFn) -> tuple[Floats, Floats, int, np.ndarray | None]:
    """Vectors of few different values, so that many tie; queries; a count; a mask."""
    rows = draw(st.integers(0, 60))
    dimension = draw(st.sampled_from([1, 2, 4, 7, 8]))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # whole numbers: every way of summing gives the same score
    vectors = chance.integers(-1, 2, (rows, dimension)).astype(np.float32)
    queries = chance.integers(-1, 2, (draw(st.integers(1, 6)), dimension)).astype(np.float32)
    share = draw(st.sampled_from([None, 0.0, 0.1, 0.6, 1.0]))
    mask = None if share is None else chance.random(rows) < share
    return vectors, queries, draw(st.integers(0, 70)), mask


@given(searches())
def test_search_any_ranks_as_a_sort_does(search: tuple[Floats, Floats, int, np.ndarray | None]) -> None:
    vectors, queries, count, mask = search
    passing = np.arange(len(vectors)) if mask is None else np.flatnonzero(mask)

    answers = exact.search(vectors, queries, count, mask=mask)

    assert len(answers) == len(queries)
    for (rows, scores), query in zip(answers, queries, strict=True):
        every = vectors[passing] @ query
        order = sorted(range(len(passing)), key=lambda index: (-every[index], passing[index]))[:count]
        assert rows.tolist() == passing[order].tolist()
        assert scores.tolist() == every[order].tolist()
        assert rows.dtype == np.int64
        assert scores.dtype == np.float32


def test_search_of_a_batch_equals_single_searches_to_the_bit() -> None:
    vectors = texts_like(20_000, 48)
    vectors[15_000:] = vectors[:5000]  # ties, across the blocks of the product
    queries = texts_like(7, 48, seed=1)
    chance = np.random.default_rng(3)

    for mask in (None, chance.random(20_000) < 0.05, chance.random(20_000) < 0.5):
        batch = exact.search(vectors, queries, 30, mask=mask)
        for index, (rows, scores) in enumerate(batch):
            single_rows, single_scores = exact.search(vectors, queries[index : index + 1], 30, mask=mask)[0]
            assert rows.tolist() == single_rows.tolist()
            assert scores.tolist() == single_scores.tolist()
            assert scores.tolist() == exact.inner_products(vectors, rows, queries[index]).tolist()


def test_search_where_equal_vectors_tie_at_the_cut_takes_the_lowest_rows() -> None:
    vectors = np.tile(texts_like(1, 32), (500, 1))

    for queries in (vectors[:1], vectors[:5]):
        for rows, _ in exact.search(vectors, queries, 3):
            assert rows.tolist() == [0, 1, 2]


def test_inner_products_of_vectors_mapped_from_a_file_are_those_in_memory(tmp_path: Path) -> None:
    vectors = texts_like(300, 32)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    rows = np.array([7, 299, 0, 7])

    scores = exact.inner_products(mapped, rows, vectors[7])

    assert scores.tolist() == exact.inner_products(vectors, rows, vectors[7]).tolist()
    assert scores == pytest.approx(vectors[rows] @ vectors[7], abs=1e-6)


@pytest.mark.parametrize("row", [-1, 10])
def test_inner_products_of_a_row_that_is_not_there_raises(row: int) -> None:
    vectors = texts_like(10, 8)

    with pytest.raises(IndexError):
        exact.inner_products(vectors, np.array([row]), vectors[0])


@pytest.mark.parametrize(
    ("vectors", "query", "error"),
    [
        (np.zeros((2, 4)), np.zeros(4, np.float32), TypeError),
        (np.zeros((2, 4), np.float32), np.zeros(4), TypeError),
        (np.zeros((4, 2), np.float32).T, np.zeros(4, np.float32), ValueError),
        (np.zeros((2, 4), np.float32), np.zeros(8, np.float32)[::2], ValueError),
        (np.zeros((2, 4), np.float32), np.zeros(3, np.float32), ValueError),
    ],
    ids=["vectors in doubles", "query in doubles", "vectors by column", "query with gaps", "dimension"],
)
def test_inner_products_of_arrays_that_the_kernel_would_misread_raises(
    vectors: np.ndarray, query: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error):
        exact.inner_products(vectors, np.array([0]), query)


def test_search_leaves_the_threads_of_faiss_as_they_were() -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((50, 8)))
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        exact.search(vectors, vectors[:1], 5)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
