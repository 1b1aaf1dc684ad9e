from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.candidates import Candidates
from rag_server.domain.fusion import AdaptiveFusion
from rag_server.query.fuse.adaptive import UNREAD_TRUST, fuse_adaptive
from rag_server.query.fuse.context import FusionContext
from rag_server.query.fuse.registry import order
from tests.unit.rag_server.query.fuse.fusion_candidates import (
    NO_CONTEXT,
    candidates,
    contexts,
    drawn_candidates,
)

FULL = FusionContext(is_language_covered=True, full_match_score=20.0)
COUNT = 80


def noise(seed: int) -> npt.NDArray[np.float64]:
    """Return cosines of a model that understands nothing: all about the same."""
    return np.random.default_rng(seed).normal(0.3, 0.05, COUNT)


def sure(seed: int, *, best: int = 11) -> npt.NDArray[np.float64]:
    """Return BM25 scores of which one stands out."""
    scores = np.random.default_rng(seed + 1000).exponential(2.0, COUNT).clip(max=9.0)
    scores[best] = 18.0
    return scores


@pytest.mark.parametrize("seed", range(40))
def test_adaptive_leg_of_noise_does_not_move_what_stands_out_in_the_other(seed: int) -> None:
    found = candidates(noise(seed), sure(seed))
    fused = fuse_adaptive(found, AdaptiveFusion(), FULL)
    assert order(found, fused.scores)[0] == 11
    assert fused.lexical_weight > 0.55
    turned = candidates(sure(seed) / 20, noise(seed) * 20)
    fused = fuse_adaptive(turned, AdaptiveFusion(), FULL)
    assert order(turned, fused.scores)[0] == 11
    assert fused.dense_weight > 0.55


def test_adaptive_leg_that_agrees_with_the_other_gets_more_weight_than_noise() -> None:
    agreeing = noise(0)
    agreeing[11] = 0.7
    deaf = fuse_adaptive(candidates(noise(0), sure(0)), AdaptiveFusion(), FULL)
    agreed = fuse_adaptive(candidates(agreeing, sure(0)), AdaptiveFusion(), FULL)
    assert agreed.dense_weight > 1.2 * deaf.dense_weight


def test_adaptive_lexical_leg_counts_less_the_less_of_the_query_it_covers() -> None:
    found = candidates(noise(1), sure(1))
    weights = [
        fuse_adaptive(found, AdaptiveFusion(), replace(FULL, full_match_score=full)).lexical_weight
        for full in (10.0, 18.0, 36.0, 180.0)
    ]
    assert weights[0] == weights[1] > weights[2] > weights[3]


@pytest.mark.parametrize(
    "context",
    [
        replace(FULL, is_language_covered=False, full_match_score=18.0),
        replace(FULL, identifier_share=1.0, full_match_score=18.0),
        FusionContext(is_language_covered=False),
    ],
)
def test_adaptive_vectors_count_a_third_where_their_model_can_read_nothing(context: FusionContext) -> None:
    found = candidates(noise(2), sure(2))
    trusted = fuse_adaptive(found, AdaptiveFusion(), replace(FULL, full_match_score=18.0))
    doubted = fuse_adaptive(found, AdaptiveFusion(), context)
    odds, doubted_odds = (each.dense_weight / each.lexical_weight for each in (trusted, doubted))
    assert doubted_odds == pytest.approx(odds * UNREAD_TRUST)


def test_adaptive_question_in_another_language_than_the_collections_keeps_its_vectors() -> None:
    # an English question to a Spanish collection: two names match, and the model does read the question
    found = candidates(noise(3), sure(3))
    foreign = replace(FULL, full_match_score=180.0)
    odds, doubted = (
        fuse_adaptive(found, AdaptiveFusion(), replace(foreign, is_language_covered=covered)).dense_weight
        for covered in (True, False)
    )
    assert doubted > 0.9 * odds


def test_adaptive_asked_weights_multiply_those_found() -> None:
    found = candidates(noise(4), sure(4))
    plain = fuse_adaptive(found, AdaptiveFusion(), FULL)
    shifted = fuse_adaptive(found, AdaptiveFusion(dense_weight=3.0, lexical_weight=1.5), FULL)
    assert shifted.dense_weight / shifted.lexical_weight == pytest.approx(
        2 * plain.dense_weight / plain.lexical_weight
    )


def test_adaptive_legs_without_any_difference_get_the_weights_that_were_asked() -> None:
    fused = fuse_adaptive(candidates([0.4, 0.4], [2.0, 2.0]), AdaptiveFusion(1.0, 3.0), FULL)
    assert (fused.dense_weight, fused.lexical_weight) == (0.25, 0.75)
    assert fused.scores == pytest.approx([0.25 * 0.4 + 0.75 * 0.1] * 2)


def test_adaptive_first_score_is_the_mean_of_cosine_and_coverage() -> None:
    fused = fuse_adaptive(candidates([0.1, 0.6, 0.2], [0.0, 15.0, 5.0]), AdaptiveFusion(), FULL)
    expected = fused.dense_weight * 0.6 + fused.lexical_weight * 15 / 20
    assert fused.scores.max() == fused.scores[1] == pytest.approx(expected)
    assert fused.scores.min() == fused.scores[0] == 0.0


def test_adaptive_single_candidate_has_its_quality() -> None:
    assert fuse_adaptive(candidates([0.8], None), AdaptiveFusion(), FULL).scores == pytest.approx([0.8])
    assert fuse_adaptive(candidates(None, [5.0]), AdaptiveFusion(), FULL).scores == pytest.approx([0.25])


def test_adaptive_of_hopeless_candidates_still_has_an_order() -> None:
    found = candidates([-0.1, -0.3, -0.2], None)
    assert list(order(found, fuse_adaptive(found, AdaptiveFusion(), NO_CONTEXT).scores)) == [0, 2, 1]


@given(drawn_candidates(least=1, unknown=True), contexts)
def test_adaptive_scores_lie_between_0_and_1(found: Candidates, context: FusionContext) -> None:
    scores = fuse_adaptive(found, AdaptiveFusion(), context).scores
    assert scores.min() >= 0.0
    assert 0.0 < scores.max() <= 1.0


@given(drawn_candidates(), st.sampled_from([0.01, 3.0, 1000.0]), st.sampled_from([-2.0, 0.0, 5.0]))
def test_adaptive_order_is_the_same_on_any_scale_of_the_vectors(
    found: Candidates, factor: float, shift: float
) -> None:
    assert found.dense is not None
    other = candidates(found.dense.scores * factor + shift, found.lexical)
    own, others = (fuse_adaptive(each, AdaptiveFusion(), FULL) for each in (found, other))
    assert others.dense_weight == pytest.approx(own.dense_weight, abs=1e-9)
    # by the order that one has, the other one's scores fall
    ranked = others.scores[order(found, own.scores)]
    assert np.all(np.diff(ranked) <= 1e-9)
