"""How well a sentence answers a question: the mean of what its words and its meaning say.

Each view looks at the sentence and, as much, at its context, since a sentence of an article seldom
repeats the article's topic:

    lexical = coverage(sentence) / 2 + coverage(sentence and the one before) / 4 + coverage(passage) / 4
    dense   = cosine(sentence) / 2 + cosine(passage) / 2
    confidence = (lexical + dense) / 2

where coverage is the share of the question's idf mass that occurs, words of the same family in part
(`word_families.py`). All of them are shares of a whole. Between sentences that say as much, the one whose
source retrieval ranked higher wins: `standings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_server.backends.extractive.candidates import CandidateSentence
from rag_server.backends.extractive.word_families import RELATED_SHARE
from rag_server.domain.retrieval import Leg, ScoredChunk

Scores = npt.NDArray[np.float64]
"""Shape `(n,)`, one per candidate."""


PASSAGE_SHARE: Final = 0.75
"""Of the passage's cosine in what its sentence's is estimated to be; the rest is the lexical evidence. Least
squares give 0.68 and 0.24 on XQuAD in English, 0.84 and 0.16 in Spanish."""

_UNRELATED: Final[Mapping[str, AbstractSet[str]]] = {}


def coverage(
    weights: Mapping[str, float],
    lexemes: AbstractSet[str],
    related: Mapping[str, AbstractSet[str]] = _UNRELATED,
) -> float:
    """Return the share of the weight of all terms that those in `lexemes` have; 0 without terms.

    A term that is not there counts `RELATED_SHARE` of its weight if one of the lexemes `related` to it is.
    """
    total = sum(weights.values())
    if not total:
        return 0.0
    covered = 0.0
    for term, weight in weights.items():
        if term in lexemes:
            covered += weight
        elif (family := related.get(term)) is not None and not family.isdisjoint(lexemes):
            covered += RELATED_SHARE * weight
    return covered / total


def lexical_evidence(
    weights: Mapping[str, float],
    candidates: Sequence[CandidateSentence],
    related: Mapping[str, AbstractSet[str]] = _UNRELATED,
) -> Scores:
    """Return the lexical view of each candidate, 0 to 1.

    Args:
        weights: of the question's terms.
        candidates: the sentences.
        related: to a term of the question, other lexemes of its family; see `related_lexemes`.
    """
    passages: dict[AbstractSet[str], float] = {}  # a passage has many sentences
    for candidate in candidates:
        if candidate.passage_lexemes not in passages:
            passages[candidate.passage_lexemes] = coverage(weights, candidate.passage_lexemes, related)
    return np.array(
        [
            coverage(weights, candidate.lexemes, related) / 2
            + coverage(weights, candidate.context_lexemes, related) / 4
            + passages[candidate.passage_lexemes] / 4
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


def estimated_cosines(lexical: Scores, candidates: Sequence[CandidateSentence], passages: Scores) -> Scores:
    """Return about what the model would find between the question and each candidate, `(n,)`.

    Takes its arguments as `dense_evidence`; `lexical` is that of each candidate.
    """
    context = passages[[candidate.source_index for candidate in candidates]]
    return PASSAGE_SHARE * context + (1 - PASSAGE_SHARE) * lexical


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


def has_cosines(sources: Sequence[ScoredChunk]) -> bool:
    """Whether the dense leg found any of `sources`."""
    return any(Leg.DENSE in source.signals for source in sources)


def standings(sources: Sequence[ScoredChunk]) -> Scores:
    """Return the score of each source as a share of the best one's, `(sources,)`; 0 where none is above 0.

    Scores mean different things by method, and may be below 0 after reranking: such a source has none.
    """
    scores = np.array([max(source.score, 0.0) for source in sources], dtype=np.float64)
    best = scores.max(initial=0.0)
    return scores / best if best > 0 else scores


def combine(lexical: Scores, dense: Scores, *, dense_weight: float = 1.0, has_terms: bool = True) -> Scores:
    """Return the weighted mean of both views; of the dense one alone for a question without terms."""
    lexical_weight = 1.0 if has_terms else 0.0
    if not has_terms:
        dense_weight = 1.0
    return (lexical_weight * lexical + dense_weight * dense) / (lexical_weight + dense_weight)
