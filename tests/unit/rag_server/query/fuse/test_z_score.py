from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.candidates import Candidates
from rag_server.domain.fusion import ZScoreFusion
from rag_server.domain.retrieval import ScoreScale
from rag_server.query.fuse.z_score import fuse_z_score
from tests.unit.rag_server.query.fuse.fusion_candidates import candidates, drawn_candidates


def test_z_score_is_the_weighted_mean_of_standardized_scores() -> None:
    fused = fuse_z_score(candidates([1.0, -1.0, 1.0, -1.0], [0.0, 8.0, 8.0, 0.0]), ZScoreFusion(1.0, 3.0))
    assert fused.scores == pytest.approx([-0.5, 0.5, 1.0, -1.0])
    assert (fused.scale, fused.dense_weight, fused.lexical_weight) == (ScoreScale.Z_SCORE, 0.25, 0.75)


def test_z_score_of_scores_near_the_limits_of_floats_is_finite() -> None:
    fused = fuse_z_score(candidates([1e-300, 2e-300, 3e-300], [1e300, 2e300, 3e300]), ZScoreFusion())
    assert fused.scores == pytest.approx([-(1.5**0.5), 0.0, 1.5**0.5])


@given(drawn_candidates(least=1))
def test_z_score_mean_is_0(found: Candidates) -> None:
    assert np.mean(fuse_z_score(found, ZScoreFusion()).scores) == pytest.approx(0.0, abs=1e-9)


@given(drawn_candidates(), st.sampled_from([0.01, 3.0, 1000.0]), st.sampled_from([-2.0, 0.0, 5.0]))
def test_z_score_is_the_same_on_any_scale_of_a_leg(found: Candidates, factor: float, shift: float) -> None:
    assert found.dense is not None
    assert found.lexical is not None
    other = candidates(found.dense.scores * factor + shift, found.lexical.scores)
    assert fuse_z_score(other, ZScoreFusion()).scores == pytest.approx(
        fuse_z_score(found, ZScoreFusion()).scores, abs=1e-9
    )
