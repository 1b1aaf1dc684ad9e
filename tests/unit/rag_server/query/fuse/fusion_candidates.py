"""Candidates for the tests of fusion, and strategies that draw them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from rag_server.domain.candidates import Candidates, LegColumns, Ranks
from rag_server.domain.fusion import AdaptiveFusion, Fusion, MinMaxFusion, RrfFusion, ZScoreFusion
from rag_server.query.fuse.context import FusionContext

NO_CONTEXT = FusionContext()
METHODS: tuple[type[Fusion], ...] = (AdaptiveFusion, RrfFusion, MinMaxFusion, ZScoreFusion)

Values = Sequence[float] | npt.NDArray[np.float64]


def leg(scores: Values, returned: Values | Ranks | None = None) -> LegColumns:
    """Return a leg that returned the candidates where `returned` is not 0 (None: all), ranked by score."""
    values = np.asarray(scores, np.float64)
    is_returned = np.ones(len(values), bool) if returned is None else np.asarray(returned) != 0
    ranked = [index for index in np.argsort(-values, kind="stable") if is_returned[index]]
    ranks = np.zeros(len(values), np.int32)
    ranks[ranked] = np.arange(1, len(ranked) + 1)
    return LegColumns(values, ranks)


def candidates(dense: Values | LegColumns | None, lexical: Values | LegColumns | None) -> Candidates:
    """Return candidates with these scores; None: the leg did not run."""
    legs = [each if isinstance(each, LegColumns | None) else leg(each) for each in (dense, lexical)]
    count = next((len(each.scores) for each in legs if each is not None), 0)
    return Candidates(np.arange(count), *legs)


cosines = st.integers(-100, 100).map(lambda percent: percent / 100)
bm25_scores = st.integers(0, 4000).map(lambda percent: percent / 100)


@st.composite
def drawn_candidates(draw: st.DrawFn, *, least: int = 0, unknown: bool = False) -> Candidates:
    """Draw up to 30 candidates of two legs that overlap; `unknown`: legs may score only their own."""
    count = draw(st.integers(least, 30))
    legs = []
    for values in (cosines, bm25_scores):
        scores = np.array(draw(st.lists(values, min_size=count, max_size=count)), np.float64)
        returned = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.float64)
        columns = leg(scores, returned)
        if unknown and draw(st.booleans()):
            columns = LegColumns(np.where(columns.ranks > 0, scores, np.nan), columns.ranks)
        legs.append(columns)
    return Candidates(np.arange(count), legs[0], legs[1])


contexts = st.builds(
    FusionContext,
    is_language_covered=st.sampled_from([None, True, False]),
    full_match_score=st.sampled_from([None, 0.5, 10.0, 60.0]),
    identifier_share=st.sampled_from([0.0, 0.4, 1.0]),
)


@st.composite
def fusions(draw: st.DrawFn) -> Fusion:
    """Draw a method with weights of which at least one is above 0."""
    weight = st.sampled_from([0.0, 0.3, 1.0, 1000.0])
    weights = draw(st.tuples(weight, weight).filter(any))
    method = draw(st.sampled_from(METHODS))
    return method(dense_weight=weights[0], lexical_weight=weights[1])
