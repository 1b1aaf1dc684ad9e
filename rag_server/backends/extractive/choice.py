"""Which sentences to quote: both views of each, and how sure that makes of the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rag_server.backends.extractive.answer_type import asks_for_number, has_number
from rag_server.backends.extractive.candidates import CandidateSentence
from rag_server.backends.extractive.evidence import (
    Scores,
    combine,
    dense_evidence,
    estimated_cosines,
    passage_cosines,
    standings,
)
from rag_server.backends.extractive.reading import Reading
from rag_server.backends.extractive.selection import ESTIMATED_SUPPORT_RATIO, SUPPORT_RATIO, select
from rag_server.domain.retrieval import ScoredChunk

UNSPOKEN_WEIGHT: Final = 0.5
"""What the model's word counts for in ranking when the question is in a language it was not trained for."""

NUMBER_BONUS: Final = 0.0625
"""Added in ranking to a sentence with a number when the question asks for one: what a quarter of the
question's words in it would add."""

STANDING_WEIGHT: Final = 0.2
"""What a sentence loses in ranking by the share of the best source's score that its own source lacks.
Confidence does without it: something always comes first."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to quote."""

    sentences: list[CandidateSentence]
    """Best first, at least one."""
    confidence: float
    """That the first one answers, at most 1."""


def choose(
    question: str,
    reading: Reading,
    cosines: Scores | None,
    sources: Sequence[ScoredChunk],
    *,
    is_spoken: bool,
    limit: int,
) -> Choice:
    """Rank the candidates of `reading`, one or more, by both views.

    Args:
        question: As asked.
        reading: Of some or all of `sources`.
        cosines: Of the question and each candidate, `(n,)`; None: estimated, which takes a dense leg.
        sources: Best first.
        is_spoken: Whether the embedding model knows the question's language.
        limit: Of the sentences.
    """
    candidates = reading.candidates
    passages = passage_cosines(sources)
    support_ratio = SUPPORT_RATIO
    if cosines is None:
        cosines = estimated_cosines(reading.lexical, candidates, passages)
        support_ratio = ESTIMATED_SUPPORT_RATIO
    dense = dense_evidence(cosines, candidates, passages)
    weight = 1.0 if is_spoken else UNSPOKEN_WEIGHT
    scores = combine(reading.lexical, dense, dense_weight=weight, has_terms=reading.has_terms)
    lacking = 1.0 - standings(sources)
    scores = scores - STANDING_WEIGHT * lacking[[each.source_index for each in candidates]]
    if asks_for_number(question):
        numbers = [has_number(candidate.text) for candidate in candidates]
        scores = scores + NUMBER_BONUS * np.array(numbers, dtype=np.float64)
    chosen = select(scores, limit, support_ratio=support_ratio)
    confidence = combine(reading.lexical, dense, has_terms=reading.has_terms)[chosen[0]]
    return Choice([candidates[i] for i in chosen], float(confidence))
