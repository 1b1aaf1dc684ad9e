"""The two stages: right answers whatever the vectors are like, and an honest estimate of what is missed."""

from __future__ import annotations

import numpy as np
import pytest

from rag_server.query.resident import exact, shortlist
from tests.unit.rag_server.query.resident.dense_vectors import Floats, ranking, recall, texts_like, unit
from tests.unit.rag_server.query.resident.test_codes import build

CHANCE = np.random.default_rng(5)
TEXTS = texts_like(20_000)
NOISE = unit(CHANCE.standard_normal((20_000, 96)))
NEAR_DUPLICATES = unit(
    texts_like(10, seed=2)[CHANCE.integers(10, size=20_000)] + 0.01 * CHANCE.standard_normal((20_000, 96))
)


@pytest.mark.parametrize(
    ("vectors", "queries"),
    [
        (TEXTS, texts_like(15, seed=1)),
        (NOISE, unit(np.random.default_rng(6).standard_normal((15, 96)))),
        (NEAR_DUPLICATES, texts_like(10, seed=2)),
    ],
    ids=["texts", "noise", "near duplicates"],
)
def test_search_of_any_vectors_finds_the_best_or_says_that_it_cannot(
    vectors: Floats, queries: Floats
) -> None:
    codes = build(vectors)
    recalls = []
    for query in queries:
        found = shortlist.search(codes, vectors, query, 50, None, len(vectors))
        if found is None:
            continue
        rows, scores = found
        assert scores.tolist() == exact.inner_products(vectors, rows, query).tolist()
        recalls.append(recall(rows[:10], ranking(vectors, query)[:10]))

    assert np.mean([*recalls, 1.0]) >= 0.98


def test_search_of_texts_finds_nearly_all_in_two_stages_under_any_filter() -> None:
    codes = build(TEXTS)
    topic = TEXTS @ TEXTS[0]
    masks = {
        "random": np.random.default_rng(0).random(len(TEXTS)) < 0.5,
        "near": topic > np.quantile(topic, 0.5),
        "far": topic < np.quantile(topic, 0.5),
    }
    for mask in masks.values():
        total = int(mask.sum())
        for query in texts_like(10, seed=1):
            found = shortlist.search(codes, TEXTS, query, 50, mask, total)
            assert found is not None
            assert mask[found[0]].all()
            assert recall(found[0], ranking(TEXTS, query, mask)[:50]) >= 0.9


def test_search_for_more_than_a_shortlist_holds_returns_none() -> None:
    assert not shortlist.is_worthwhile(5000, len(TEXTS))
    assert shortlist.search(build(TEXTS[:2000]), TEXTS[:2000], TEXTS[0], 50, None, 2000) is None


def test_expected_misses_where_nothing_is_hidden_are_none() -> None:
    scores = np.linspace(1, 0, 20, dtype=np.float32)

    assert shortlist.expected_misses(scores, scores, 5, 0) == 0.0


def test_expected_misses_where_approximate_scores_say_nothing_are_the_share_of_what_is_hidden() -> None:
    chance = np.random.default_rng(1)
    scores = chance.standard_normal(1000).astype(np.float32)

    misses = shortlist.expected_misses(np.ones(1000, np.float32), scores, 50, 9000)

    assert misses == pytest.approx(9000 * 50 / 1000, rel=0.2)


def test_expected_misses_of_exact_codes_are_none() -> None:
    scores = np.linspace(0.9, 0.3, 400, dtype=np.float32)

    assert shortlist.expected_misses(scores, scores, 50, 100_000) < 0.01


def test_expected_misses_on_average_are_those_that_happen() -> None:
    chance = np.random.default_rng(8)
    expected, actual = [], []
    for _ in range(40):
        scores = chance.standard_normal(20_000).astype(np.float32)
        approximate = (scores + 0.3 * chance.standard_normal(20_000)).astype(np.float32)
        shown = np.argsort(-approximate)[:200]
        best = set(np.argsort(-scores)[:50].tolist())
        expected.append(shortlist.expected_misses(approximate[shown], scores[shown], 50, 19_800))
        actual.append(len(best - set(shown.tolist())))

    assert np.mean(actual) / 2 < np.mean(expected) < np.mean(actual) * 2 + 1
