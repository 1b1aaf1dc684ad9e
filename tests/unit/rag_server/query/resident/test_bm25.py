from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from rag_server.domain.lexical import Bm25
from rag_server.query.resident import bm25, maxscore, postings
from rag_server.query.resident.bm25 import LexicalSegment, Scorer
from rag_server.query.resident.postings import Postings
from rag_server.query.resident.statistics import TermStatistics
from tests.unit.rag_server.query.resident.lexical_corpora import CORPORA, UNTIMED, Row, postings_of, zipf_rows

parameter_sets = st.builds(
    Bm25, k1=st.sampled_from([0.0, 0.5, 1.2, 3.0]), b=st.sampled_from([0.0, 0.75, 1.0])
)
queries = st.lists(st.integers(0, 9), max_size=6)


def search(segments: Any, statistics: Any, term_ids: Any, parameters: Bm25, count: int) -> Any:
    return Scorer(segments, statistics, term_ids, parameters).search(count)


def scores_of(segments: Any, statistics: Any, term_ids: Any, parameters: Bm25, positions: Any) -> Any:
    return Scorer(segments, statistics, term_ids, parameters).scores_of(positions)


@dataclass
class Corpus:
    """Segments, some of whose rows are dead, and the statistics of the others."""

    segments: list[LexicalSegment]
    statistics: TermStatistics
    rows: dict[int, Row]
    """The living rows by position."""


def corpus_of(parts: list[tuple[list[Row], set[int]]]) -> Corpus:
    """Insert every part and then delete its dead rows."""
    segments, rows, base = [], {}, 5
    statistics = TermStatistics.empty()
    for held, dead in parts:
        index = postings_of(held)
        gone = np.array(sorted(dead), np.int64)
        statistics = statistics.plus(index, None).minus(index, gone)
        mask = np.ones(len(held), np.bool_)
        mask[gone] = False
        segments.append(LexicalSegment(base, index, mask if dead else None))
        rows |= {base + row: terms for row, terms in enumerate(held) if row not in dead}
        base += len(held) + 3
    return Corpus(segments, statistics, rows)


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    parts = draw(st.lists(CORPORA, max_size=4))
    return corpus_of(
        [(held, draw(st.sets(st.integers(0, len(held) - 1))) if held else set()) for held in parts]
    )


@contextmanager
def always_pruned() -> Iterator[None]:
    """Let the pruned search with all of its ways run on corpora of a few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25, "_FEW_ROWS", 0)
        patch.setattr(maxscore, "_WORTH_A_LOOK", 0)
        patch.setattr(maxscore, "_FEW_SHARE", 3)
        patch.setattr(maxscore, "_SAMPLE", 2)
        patch.setattr(postings, "_COLUMN_ROWS", 1)
        patch.setattr(postings, "_COLUMN_SHARE", 3)
        yield


def okapi_scores(rows: dict[int, Row], query: list[int], parameters: Bm25) -> dict[int, float]:
    """Return the scores above 0 by rank_bm25, its idf replaced by the one of Lucene."""
    if not any(rows.values()):
        return {}
    # It divides 0 by 0 where k1 is 0: for terms that a row lacks, and for rows without terms.
    okapi = BM25Okapi(list(rows.values()), k1=max(parameters.k1, 1e-12), b=parameters.b)
    frequencies = Counter(term for terms in rows.values() for term in set(terms))
    okapi.idf = {term: math.log(1 + (len(rows) - df + 0.5) / (df + 0.5)) for term, df in frequencies.items()}
    with np.errstate(invalid="ignore"):
        scores = okapi.get_scores(query)
    return {position: score for position, score in zip(rows, scores.tolist(), strict=True) if score > 0}


def best(scores: dict[int, float], count: int) -> list[int]:
    return sorted(scores, key=lambda position: (-scores[position], position))[:count]


def assert_same_ranking(found: tuple[np.ndarray, np.ndarray], expected: dict[int, float], count: int) -> None:
    """Compare with reference scores; where those differ by rounding alone, either order is right."""
    positions, scores = found
    assert (positions.dtype, scores.dtype) == (np.int64, np.float64)
    assert len(set(positions.tolist())) == len(positions) == min(count, len(expected))
    assert scores.tolist() == pytest.approx([expected[p] for p in positions.tolist()], rel=1e-6)
    assert scores.tolist() == pytest.approx([expected[p] for p in best(expected, count)], rel=1e-6)
    order = list(zip((-scores).tolist(), positions.tolist(), strict=True))
    assert order == sorted(order)


@UNTIMED
@given(corpora(), queries, parameter_sets, st.integers(1, 30))
def test_bm25_search_is_that_of_rank_bm25_with_the_idf_of_lucene(
    corpus: Corpus, query: list[int], parameters: Bm25, count: int
) -> None:
    found = search(corpus.segments, corpus.statistics, query, parameters, count)
    assert_same_ranking(found, okapi_scores(corpus.rows, query, parameters), count)


@UNTIMED
@given(st.data(), queries, parameter_sets, st.integers(1, 30))
def test_bm25_pruned_search_is_that_of_rank_bm25_with_the_idf_of_lucene(
    data: st.DataObject, query: list[int], parameters: Bm25, count: int
) -> None:
    with always_pruned():
        corpus = data.draw(corpora())
        found = search(corpus.segments, corpus.statistics, query, parameters, count)
    assert_same_ranking(found, okapi_scores(corpus.rows, query, parameters), count)


@UNTIMED
@given(corpora(), queries, parameter_sets)
def test_bm25_scores_of_positions_are_those_of_rank_bm25_and_0_elsewhere(
    corpus: Corpus, query: list[int], parameters: Bm25
) -> None:
    positions = np.array([*reversed(corpus.rows), *corpus.rows], np.int64)
    found = scores_of(corpus.segments, corpus.statistics, query, parameters, positions)
    expected = okapi_scores(corpus.rows, query, parameters)
    assert found.dtype == np.float64
    assert found.tolist() == pytest.approx([expected.get(p, 0.0) for p in positions.tolist()], rel=1e-6)


@UNTIMED
@given(st.data(), corpora(), queries, st.integers(1, 10), st.booleans())
def test_bm25_masked_rows_are_not_returned_and_change_no_score(
    data: st.DataObject, corpus: Corpus, query: list[int], count: int, is_pruned: bool
) -> None:
    masks = [np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_)
             for n in (len(each.postings) for each in corpus.segments)]  # fmt: skip
    passing = {
        each.base + int(row)
        for each, mask in zip(corpus.segments, masks, strict=True)
        for row in np.flatnonzero(mask)
    }
    segments = [
        LexicalSegment(each.base, each.postings, mask)
        for each, mask in zip(corpus.segments, masks, strict=True)
    ]
    everything = scores_of(segments, corpus.statistics, query, Bm25(), np.array(sorted(passing), np.int64))
    expected = {p: s for p, s in zip(sorted(passing), everything.tolist(), strict=True) if s > 0}
    if is_pruned:
        with always_pruned():
            positions, scores = search(segments, corpus.statistics, query, Bm25(), count)
    else:
        positions, scores = search(segments, corpus.statistics, query, Bm25(), count)
    assert positions.tolist() == best(expected, count)
    assert scores.tolist() == [expected[position] for position in positions.tolist()]


@pytest.fixture(scope="module")
def large() -> Corpus:
    """Rows enough for every way of the pruned search, beside two small segments."""
    generator = np.random.default_rng(0)
    sizes = (9000, 3000, 40)
    return corpus_of(
        [
            (zipf_rows(size, seed=size), set(generator.choice(size, size // 20, replace=False).tolist()))
            for size in sizes
        ]
    )


def random_queries(count: int) -> list[list[int]]:
    generator = np.random.default_rng(count)
    frequent, rare = range(12), range(12, 400)
    return [
        [*generator.choice(frequent, number % 4).tolist(), *generator.choice(rare, number % 5).tolist()]
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 10, 300])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01])
@pytest.mark.parametrize("parameters", [Bm25(), Bm25(k1=2.0, b=0.3)])
def test_bm25_search_of_a_large_corpus_is_the_sorted_list_of_all_scores(
    large: Corpus, share: float, count: int, parameters: Bm25
) -> None:
    generator = np.random.default_rng(count)
    segments = []
    for each in large.segments:
        assert each.mask is not None
        segments.append(
            LexicalSegment(each.base, each.postings, each.mask & (generator.random(len(each.mask)) < share))
        )
    positions = np.concatenate([each.base + np.flatnonzero(each.mask) for each in segments])
    for query in random_queries(12):
        everything = scores_of(segments, large.statistics, query, parameters, positions)
        order = np.lexsort((positions, -everything))[:count]
        order = order[everything[order] > 0]
        found, scores = search(segments, large.statistics, query, parameters, count)
        assert found.tolist() == positions[order].tolist()
        assert scores.tolist() == everything[order].tolist()


def test_bm25_search_when_all_rows_are_equal_takes_the_first_positions() -> None:
    corpus = corpus_of([([[1, 2]] * 5000, {0}), ([[1, 2]] * 10, set())])
    positions, scores = search(corpus.segments, corpus.statistics, [1, 2], Bm25(), 20)
    assert positions.tolist() == list(range(6, 26))
    assert len(set(scores.tolist())) == 1


def test_bm25_equal_rows_of_segments_of_any_size_have_equal_scores() -> None:
    rows = zipf_rows(3000, seed=9)
    corpus = corpus_of([(rows, set()), (rows[:7], set())])
    (large_one, small_one) = corpus.segments
    for row in range(7):
        positions, scores = search(corpus.segments, corpus.statistics, rows[row], Bm25(), 2)
        assert positions.tolist() == [large_one.base + row, small_one.base + row]
        assert scores[0] == scores[1]


def test_bm25_equal_rows_go_by_position_though_the_larger_segment_is_searched_first() -> None:
    rows = zipf_rows(3000, seed=9)
    corpus = corpus_of([(rows[:7], set()), (rows, set())])
    for row in range(7):
        positions, _ = search(corpus.segments, corpus.statistics, rows[row], Bm25(), 1)
        assert positions.tolist() == [corpus.segments[0].base + row]


def test_bm25_repeated_term_counts_twice() -> None:
    corpus = corpus_of([([[1, 2], [2, 3]], set())])
    at = np.array([corpus.segments[0].base])
    once = scores_of(corpus.segments, corpus.statistics, [1], Bm25(), at)
    twice = scores_of(corpus.segments, corpus.statistics, [1, 1], Bm25(), at)
    assert twice[0] == pytest.approx(2 * once[0])


def test_bm25_term_in_every_row_still_counts_for_a_row() -> None:
    corpus = corpus_of([([[1], [1], [1, 1]], set())])
    scores = search(corpus.segments, corpus.statistics, [1], Bm25(), 10)[1]
    assert len(scores) == 3
    assert (scores > 0).all()


def test_bm25_term_newer_than_the_statistics_is_not_counted() -> None:
    corpus = corpus_of([([[1], [2]], set())])
    assert search(corpus.segments, corpus.statistics, [1000], Bm25(), 3)[0].tolist() == []
    known = search(corpus.segments, corpus.statistics, [1], Bm25(), 3)
    both = search(corpus.segments, corpus.statistics, [1, 1000], Bm25(), 3)
    assert known[0].tolist() == both[0].tolist()
    assert known[1].tolist() == both[1].tolist()


@pytest.mark.parametrize("count", [0, -1])
def test_bm25_search_for_no_results_has_none(count: int) -> None:
    corpus = corpus_of([([[1]], set())])
    assert search(corpus.segments, corpus.statistics, [1], Bm25(), count)[0].tolist() == []


def test_bm25_nothing_to_search_or_to_search_for_finds_nothing() -> None:
    empty = TermStatistics.empty()
    assert search([], empty, [1], Bm25(), 3)[0].tolist() == []
    corpus = corpus_of([([[1]], {0})])
    assert search(corpus.segments, corpus.statistics, [1], Bm25(), 3)[0].tolist() == []
    assert search(corpus.segments, corpus.statistics, [], Bm25(), 3)[0].tolist() == []
    assert scores_of(corpus.segments, corpus.statistics, [], Bm25(), np.array([5])).tolist() == [0.0]
    assert scores_of([], empty, [1], Bm25(), np.zeros(0, np.int64)).tolist() == []


def test_bm25_search_in_read_only_mapped_postings_is_the_same(large: Corpus, tmp_path: Path) -> None:
    original = large.segments[0]
    for name, array in original.postings.arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = {path.stem: np.load(path, mmap_mode="r") for path in tmp_path.iterdir()}
    loaded = LexicalSegment(original.base, Postings.from_arrays(mapped), original.mask)
    for query in random_queries(8):
        expected = search([original], large.statistics, query, Bm25(), 20)
        found = search([loaded], large.statistics, query, Bm25(), 20)
        assert found[0].tolist() == expected[0].tolist()
        assert found[1].tolist() == expected[1].tolist()


def test_bm25_searches_of_many_threads_do_not_disturb_each_other(large: Corpus) -> None:
    asked = random_queries(10) * 8

    def run(query: list[int]) -> list[int]:
        return search(large.segments, large.statistics, query, Bm25(), 25)[0].tolist()

    expected = [run(query) for query in asked]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(run, asked)) == expected
