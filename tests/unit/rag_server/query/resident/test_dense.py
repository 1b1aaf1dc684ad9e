"""The dense leg over several segments, and which way of searching it chooses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.query.resident import dense
from rag_server.query.resident.dense import DenseSegment, Method
from rag_server.query.resident.graph import Graph
from tests.unit.rag_server.query.resident.dense_vectors import Floats, ranking, recall, texts_like
from tests.unit.rag_server.query.resident.test_codes import build as build_codes

VECTORS = texts_like(12_000)
QUERIES = texts_like(10, seed=1)
CODES = build_codes(VECTORS)
GRAPH = Graph.build(VECTORS[:4000])


def whole(vectors: Floats, mask: np.ndarray | None = None, base: int = 0) -> DenseSegment:
    count = len(vectors) if mask is None else int(mask.sum())
    return DenseSegment(base, vectors, None, mask, count)


def coded(mask: np.ndarray | None = None) -> DenseSegment:
    return DenseSegment(0, VECTORS, None, mask, len(VECTORS) if mask is None else int(mask.sum()), CODES)


@given(
    sizes=st.lists(st.integers(0, 12), max_size=5),
    share=st.sampled_from([None, 0.0, 0.5]),
    count=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_search_of_several_segments_ranks_as_one_sort_of_all(
    sizes: list[int], share: float | None, count: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    segments, positions, vectors = [], [], []
    base = 0
    for size in sizes:
        rows = chance.integers(-1, 2, (size, 4)).astype(np.float32)
        mask = None if share is None else chance.random(size) < share
        segments.append(whole(rows, mask, base))
        positions.append(base + (np.arange(size) if mask is None else np.flatnonzero(mask)))
        vectors.append(rows if mask is None else rows[mask])
        base += size + 3
    queries = chance.integers(-1, 2, (2, 4)).astype(np.float32)
    every = np.concatenate([np.zeros(0, np.int64), *positions])
    rows = np.concatenate([np.zeros((0, 4), np.float32), *vectors])

    answers = dense.search(segments, queries, count)

    for (found, scores), query in zip(answers, queries, strict=True):
        products = rows @ query
        order = sorted(range(len(every)), key=lambda index: (-products[index], every[index]))[:count]
        assert found.tolist() == every[order].tolist()
        assert scores.tolist() == products[order].tolist()


def test_search_without_segments_or_queries_returns_nothing() -> None:
    assert [len(rows) for rows, _ in dense.search([], QUERIES, 5)] == [0] * len(QUERIES)
    assert dense.search([whole(VECTORS[:10])], QUERIES[:0], 5) == []


@pytest.mark.parametrize("share", [None, 0.01, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["random", "near", "far"])
def test_search_by_codes_under_any_filter_finds_what_exact_search_finds(
    share: float | None, kind: str
) -> None:
    topic = VECTORS @ VECTORS[3]
    for query in QUERIES:
        mask = None
        if share is not None:
            mask = {
                "random": np.random.default_rng(0).random(len(VECTORS)) < share,
                "near": topic >= np.quantile(topic, 1 - share),
                "far": topic <= np.quantile(topic, share),
            }[kind]
        rows, _ = dense._search_one(coded(mask), query[np.newaxis], 50, Method.CODES)[0]

        assert recall(rows[:10], ranking(VECTORS, query, mask)[:10]) >= 0.9
        assert recall(rows, ranking(VECTORS, query, mask)[:50]) >= 0.94


def test_search_by_graph_where_what_passes_is_out_of_its_reach_finds_it_otherwise() -> None:
    query = QUERIES[0]
    mask = np.ones(4000, np.bool_)
    mask[ranking(VECTORS[:4000], query)[:1500]] = False
    assert GRAPH is not None
    segment = DenseSegment(0, GRAPH.vectors, GRAPH, mask, int(mask.sum()))

    found = dense._search_one(segment, QUERIES[:1], 50, Method.HNSW)[0]

    assert found[0].tolist() == ranking(VECTORS[:4000], query, mask)[:50]


def test_search_in_any_way_gives_a_row_the_same_score() -> None:
    assert GRAPH is not None
    segment = DenseSegment(0, VECTORS[:4000], GRAPH, None, 4000, build_codes(VECTORS[:4000]))
    seen: dict[tuple[int, int], float] = {}
    for way in Method:
        for number, (rows, scores) in enumerate(dense._search_one(segment, QUERIES, 50, way)):
            assert len(rows) == 50
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
                assert seen.setdefault((number, row), score) == score


def test_search_of_a_batch_equals_single_searches() -> None:
    segments = [coded(), whole(texts_like(500, seed=4), base=20_000)]

    batch = dense.search(segments, QUERIES, 50)

    for index, (rows, scores) in enumerate(batch):
        alone_rows, alone_scores = dense.search(segments, QUERIES[index : index + 1], 50)[0]
        assert rows.tolist() == alone_rows.tolist()
        assert scores.tolist() == alone_scores.tolist()


def test_search_from_many_threads_at_once_gives_the_same_answers() -> None:
    segments = [coded()]
    expected = [rows.tolist() for rows, _ in dense.search(segments, QUERIES, 20)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda turn: dense.search(segments, QUERIES[turn % 10][np.newaxis], 20)[0], range(80))
        )

    assert [rows.tolist() for rows, _ in answers] == expected * 8


def test_scores_and_vectors_of_positions_in_any_order_are_those_of_the_rows() -> None:
    segments = [whole(VECTORS[:10]), whole(VECTORS[10:25], np.zeros(15, np.bool_), base=100)]
    positions = np.array([104, 3, 100, 9, 114, 3])
    rows = [14, 3, 10, 9, 24, 3]

    scores = dense.scores_of(segments, positions, QUERIES[0])
    vectors = dense.vectors_of(segments, positions)

    assert scores == pytest.approx(VECTORS[rows] @ QUERIES[0], abs=1e-6)
    assert np.array_equal(vectors, VECTORS[rows])


def test_scores_and_vectors_of_no_positions_are_empty() -> None:
    none = np.zeros(0, np.int64)

    assert len(dense.scores_of([], none, QUERIES[0])) == 0
    assert dense.vectors_of([whole(VECTORS[:5])], none).shape == (0, VECTORS.shape[1])


@pytest.mark.parametrize("position", [-1, 10, 99, 103])
def test_scores_of_a_position_in_no_segment_raises(position: int) -> None:
    segments = [whole(VECTORS[:10]), whole(VECTORS[:3], base=100)]

    with pytest.raises(IndexError):
        dense.scores_of(segments, np.array([position]), QUERIES[0])
    with pytest.raises(IndexError):
        dense.vectors_of(segments, np.array([position]))


def test_choose_follows_what_a_segment_is_prepared_for_and_what_passes() -> None:
    rows = 2_000_000
    vectors = np.broadcast_to(np.float32(0), (rows, 384))  # takes no room
    plain = DenseSegment(0, vectors, None, None, rows)
    with_codes = replace(plain, codes=CODES)
    with_both = replace(with_codes, graph=GRAPH)

    assert dense.choose(plain, 50) is Method.EXACT
    assert dense.choose(with_codes, 50) is Method.CODES
    assert dense.choose(with_both, 50) is Method.HNSW
    assert dense.choose(replace(with_both, pass_count=rows - 1000), 50) is Method.HNSW
    assert dense.choose(replace(with_both, pass_count=rows // 10), 50) is Method.CODES
    assert dense.choose(replace(with_both, pass_count=500), 50) is Method.EXACT
    assert dense.choose(replace(with_codes, vectors=vectors[:4000], pass_count=4000), 50) is Method.EXACT
    assert dense.choose(with_codes, rows) is Method.EXACT


def test_method_is_how_most_of_the_rows_are_searched() -> None:
    assert dense.method([]) == "exact"
    large = DenseSegment(200, np.broadcast_to(np.float32(0), (50_000, 384)), None, None, 50_000, CODES)

    assert dense.method([whole(VECTORS[:100]), large]) == "codes"
    assert dense.method([whole(VECTORS[:100]), replace(large, pass_count=50)]) == "exact"
