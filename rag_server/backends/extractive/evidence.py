"""How well a sentence answers a question: the mean of what its words and its meaning say.

Each view looks at the sentence and, as much, at its context, since a sentence of an article seldom
repeats the article's topic:

    lexical = coverage(sentence) / 2 + coverage(sentence and the one before) / 4 + coverage(passage) / 4
    dense   = cosine(sentence) / 2 + cosine(passage) / 2
    confidence = (lexical + dense) / 2

where coverage is the share of the question's idf mass that occurs. All of them are shares of a
whole, so nothing is fitted but the one threshold below which the generator abstains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import numpy.typing as npt

from rag_server.backends.extractive.candidates import CandidateSentence
from rag_server.domain.retrieval import Leg, ScoredChunk

Scores = npt.NDArray[np.float64]
"""Shape `(n,)`, one per candidate."""


def coverage(weights: Mapping[str, float], lexemes: AbstractSet[str]) -> float:
    """Return the share of the weight of all terms that those in `lexemes` have; 0 without terms."""
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in lexemes) / total if total else 0.0


def lexical_evidence(weights: Mapping[str, float], candidates: Sequence[CandidateSentence]) -> Scores:
    """Return the lexical view of each candidate, 0 to 1; `weights` are those of the question's terms."""
    return np.array(
        [
            coverage(weights, candidate.lexemes) / 2
            + coverage(weights, candidate.context_lexemes) / 4
            + coverage(weights, candidate.passage_lexemes) / 4
            for candidate in candidates
        ],
        dtype=np.float64,
    )


def dense_evidence(cosines: Scores, candidates: Sequence[CandidateSentence], passages: Scores) -> Scores:
    """Return the dense view of each candidate, at most 1.

    Args:
        cosines: of the question and each candidate, `(n,)`.
        candidates: the `n` sentences.
        passages: of the question and each source, NaN where unknown; see `passage_cosines`.
    """
    context = passages[[candidate.source_index for candidate in candidates]]
    return (cosines + np.where(np.isnan(context), cosines, context)) / 2


def passage_cosines(sources: Sequence[ScoredChunk]) -> Scores:
    """Return the cosine of the question and each source as the dense leg found it.

    A source that only the lexical leg found is at most as near as the farthest of the others. Where
    there was no dense leg, all are NaN: then the sentence speaks for its passage.
    """
    known = [signal.score for source in sources if (signal := source.signals.get(Leg.DENSE)) is not None]
    farthest = min(known, default=float("nan"))
    return np.array(
        [
            signal.score if (signal := source.signals.get(Leg.DENSE)) is not None else farthest
            for source in sources
        ],
        dtype=np.float64,
    )


def combine(lexical: Scores, dense: Scores, *, dense_weight: float = 1.0, has_terms: bool = True) -> Scores:
    """Return the weighted mean of both views; of the dense one alone for a question without terms."""
    lexical_weight = 1.0 if has_terms else 0.0
    if not has_terms:
        dense_weight = 1.0
    return (lexical_weight * lexical + dense_weight * dense) / (lexical_weight + dense_weight)
