"""Graphs: what they find, with and without a mask; files of them; stopping a build; who owns the vectors."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from rag_server.query.resident import exact, graph
from rag_server.query.resident.graph import Graph
from rag_server.query.resident.index_file import CorruptIndex
from tests.unit.rag_server.query.resident.dense_vectors import Floats, ranking, recall, texts_like
from tests.unit.rag_server.query.resident.test_codes import CODES

VECTORS = texts_like(3000, 48)
QUERIES = texts_like(15, 48, seed=1)


def build(vectors: Floats) -> Graph:
    made = Graph.build(vectors)
    assert made is not None
    return made


GRAPH = build(VECTORS)


def test_search_finds_nearly_all_with_the_scores_of_exact_search() -> None:
    recalls = []
    for query in QUERIES:
        found = GRAPH.search(query, 50)
        assert found is not None
        rows, scores = found
        assert scores.tolist() == exact.inner_products(VECTORS, rows, query).tolist()
        assert (np.diff(scores) <= 0).all()
        recalls.append(recall(rows, ranking(VECTORS, query)[:50]))

    assert np.mean(recalls) >= 0.98


def test_search_with_a_mask_finds_nearly_all_that_pass() -> None:
    mask = np.random.default_rng(0).random(len(VECTORS)) < 0.6
    for query in QUERIES:
        found = GRAPH.search(query, 50, mask=mask, pass_count=int(mask.sum()))
        assert found is not None
        assert len(found[0]) == 50
        assert mask[found[0]].all()
        assert recall(found[0], ranking(VECTORS, query, mask)[:50]) >= 0.9


def test_search_where_the_rows_near_the_query_do_not_pass_returns_none() -> None:
    query = QUERIES[0]
    mask = np.ones(len(VECTORS), np.bool_)
    mask[ranking(VECTORS, query)[:1000]] = False

    assert GRAPH.search(query, 50, mask=mask, pass_count=2000) is None


def test_search_for_more_than_there_are_returns_all() -> None:
    small = build(VECTORS[:30])

    found = small.search(QUERIES[0], 50)

    assert found is not None
    assert found[0].tolist() == ranking(VECTORS[:30], QUERIES[0])


def test_search_of_a_graph_without_rows_returns_nothing() -> None:
    found = build(VECTORS[:0]).search(QUERIES[0], 5)

    assert found is not None
    assert len(found[0]) == len(found[1]) == 0


def test_breadth_grows_as_fewer_rows_pass() -> None:
    assert graph.breadth(10_000, 50, 10_000) == graph.SEARCH_BREADTH
    assert graph.breadth(10_000, 500, 10_000) == 500
    assert graph.breadth(10_000, 500, 5000) == 1216


def test_build_of_the_same_vectors_makes_the_same_graph() -> None:
    one, other = build(VECTORS[:1500]), build(VECTORS[:1500])

    for query in QUERIES:
        _, first = one._index.search(query[np.newaxis], 20)
        _, second = other._index.search(query[np.newaxis], 20)
        assert first.tolist() == second.tolist()


def test_build_that_is_stopped_returns_none_before_its_end() -> None:
    looks = iter([False, True])

    assert Graph.build(VECTORS, should_stop=lambda: next(looks)) is None
    assert next(looks, None) is None


def test_vectors_outlive_the_graph_and_are_read_only() -> None:
    vectors = build(VECTORS[:200]).vectors
    gc.collect()

    assert np.array_equal(vectors, VECTORS[:200])
    assert not vectors.flags.writeable


def test_open_of_a_written_graph_maps_its_vectors_and_finds_the_same(tmp_path: Path) -> None:
    GRAPH.write(tmp_path / "graph")

    opened = Graph.open(tmp_path / "graph")

    assert np.array_equal(opened.vectors, VECTORS)
    assert opened.nbytes == GRAPH.nbytes
    for query in QUERIES:
        expected, found = GRAPH.search(query, 20), opened.search(query, 20)
        assert expected is not None
        assert found is not None
        assert found[0].tolist() == expected[0].tolist()
        assert found[1].tolist() == expected[1].tolist()


@pytest.mark.parametrize("kept", [0, 1, 30, 10_000, -1])
def test_open_of_a_file_cut_short_raises_corrupt_index(tmp_path: Path, kept: int) -> None:
    GRAPH.write(tmp_path / "graph")
    (tmp_path / "graph").write_bytes((tmp_path / "graph").read_bytes()[:kept])

    with pytest.raises(CorruptIndex, match="graph"):
        Graph.open(tmp_path / "graph")


def test_open_of_a_file_that_was_altered_raises_corrupt_index(tmp_path: Path) -> None:
    GRAPH.write(tmp_path / "graph")
    content = bytearray((tmp_path / "graph").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "graph").write_bytes(content)

    with pytest.raises(CorruptIndex, match="altered"):
        Graph.open(tmp_path / "graph")


def test_write_over_a_longer_file_leaves_nothing_of_it(tmp_path: Path) -> None:
    GRAPH.write(tmp_path / "graph")
    build(VECTORS[:50]).write(tmp_path / "graph")

    assert len(Graph.open(tmp_path / "graph")) == 50


def test_open_of_something_else_raises_corrupt_index(tmp_path: Path) -> None:
    (tmp_path / "graph").write_bytes(b"no graph, but long enough for a header" * 100)
    with pytest.raises(CorruptIndex):
        Graph.open(tmp_path / "graph")

    CODES.write(tmp_path / "codes")
    with pytest.raises(CorruptIndex):
        Graph.open(tmp_path / "codes")


def test_open_of_a_file_that_is_not_there_raises_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Graph.open(tmp_path / "graph")
