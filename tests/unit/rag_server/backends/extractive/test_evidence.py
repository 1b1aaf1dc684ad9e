from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rag_server.backends.extractive.candidates import CandidateSentence
from rag_server.backends.extractive.evidence import (
    combine,
    coverage,
    dense_evidence,
    estimated_cosines,
    has_cosines,
    lexical_evidence,
    passage_cosines,
    standings,
)
from rag_server.domain.document import Span
from rag_server.domain.retrieval import ScoredChunk

MakeSource = Callable[..., ScoredChunk]


def candidate(own: str, context: str = "", passage: str = "", source_index: int = 0) -> CandidateSentence:
    words = [frozenset(own.split()), frozenset((own + " " + context).split())]
    return CandidateSentence(source_index, Span(0, 1), own, *words, words[1] | frozenset(passage.split()))


def test_coverage_is_the_share_of_the_weight() -> None:
    assert coverage({"a": 3.0, "b": 1.0}, {"a", "z"}) == 0.75
    assert coverage({}, {"a"}) == 0.0


def test_coverage_by_a_related_word_is_partial() -> None:
    related = {"a": frozenset({"a2"})}
    assert coverage({"a": 3.0, "b": 1.0}, {"a2"}, related) == pytest.approx(0.6)
    assert coverage({"a": 3.0, "b": 1.0}, {"a", "a2"}, related) == 0.75


def test_lexical_evidence_nearer_words_count_more() -> None:
    weights = {"a": 1.0}
    scores = lexical_evidence(
        weights, [candidate("a"), candidate("x", "a"), candidate("x", "", "a"), candidate("x")]
    )
    assert scores.tolist() == [1.0, 0.5, 0.25, 0.0]


def test_lexical_evidence_of_nothing_is_empty() -> None:
    assert lexical_evidence({"a": 1.0}, []).shape == (0,)


def test_lexical_evidence_related_words_count_in_every_place() -> None:
    candidates = [candidate("a2"), candidate("x", "a2"), candidate("x", "", "a2")]
    scores = lexical_evidence({"a": 1.0}, candidates, {"a": frozenset({"a2"})})
    assert scores.tolist() == pytest.approx([0.8, 0.4, 0.2])


def test_dense_evidence_is_the_mean_with_the_passage() -> None:
    candidates = [candidate("a", source_index=1), candidate("b", source_index=0)]
    dense = dense_evidence(np.array([0.8, 0.4]), candidates, np.array([np.nan, 0.6]))
    assert dense.tolist() == pytest.approx([0.7, 0.4])


def test_passage_cosines_missing_one_is_the_farthest_known(make_source: MakeSource) -> None:
    sources = [make_source("a", cosine=0.7), make_source("b", cosine=None), make_source("c", cosine=0.3)]
    assert passage_cosines(sources).tolist() == [0.7, 0.3, 0.3]


def test_passage_cosines_without_dense_leg_are_unknown(make_source: MakeSource) -> None:
    assert np.isnan(passage_cosines([make_source("a", cosine=None)])).all()


def test_estimated_cosines_go_by_the_passage_first_and_by_the_words_within_it() -> None:
    candidates = [candidate("a"), candidate("b"), candidate("c", source_index=1)]
    estimated = estimated_cosines(np.array([0.8, 0.4, 0.8]), candidates, np.array([0.6, 0.2]))
    assert estimated.tolist() == pytest.approx([0.65, 0.55, 0.35])


def test_has_cosines_takes_one_source_that_the_dense_leg_found(make_source: MakeSource) -> None:
    found, other = make_source("a", cosine=0.7), make_source("b", cosine=None)
    assert has_cosines([other, found])
    assert not has_cosines([other])
    assert not has_cosines([])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.8, 0.2], [1.0, 0.25]),
        ([2.0, -1.0], [1.0, 0.0]),
        ([-1.0, -2.0], [0.0, 0.0]),
        ([0.0], [0.0]),
        ([], []),
    ],
)
def test_standings_are_shares_of_the_best_score(
    make_source: MakeSource, scores: list[float], expected: list[float]
) -> None:
    sources = [replace(make_source("a"), score=score) for score in scores]
    assert standings(sources).tolist() == expected


def test_combine_weighs_the_views() -> None:
    lexical, dense = np.array([1.0]), np.array([0.4])
    assert combine(lexical, dense).tolist() == pytest.approx([0.7])
    assert combine(lexical, dense, dense_weight=0.5).tolist() == pytest.approx([0.8])
    assert combine(lexical, dense, dense_weight=0.5, has_terms=False).tolist() == pytest.approx([0.4])
