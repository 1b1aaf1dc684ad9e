"""How much a term tells: inverse document frequency, from whatever collection is at hand.

The generator sees the retrieved passages only, so by default their sentences are the collection.
That is no worse than statistics of the whole corpus for telling sentences apart: what all retrieved
passages share (the topic) weighs little, and what few of their sentences have (the point of the
question) weighs much. Corpus statistics recognise a foreign topic better; they plug in here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from rag_server.domain.generation import GenerationRequest


class TermStatistics(Protocol):
    """Weights of terms; called off the event loop, so it may not wait for I/O for long."""

    def idf(self, term: str) -> float:
        """Return the weight of a lexeme, above 0; rarer is more."""
        ...


StatisticsSource = Callable[[GenerationRequest, Sequence[AbstractSet[str]]], TermStatistics]
"""Makes the statistics for one question from the request and the lexemes of each sentence."""


class SentenceStatistics:
    """Statistics of the given sentences: `ln(1 + (N - n + 0.5) / (n + 0.5))`.

    The weight of a term in BM25, kept above zero: Robertson and Zaragoza, "The Probabilistic
    Relevance Framework: BM25 and Beyond", 2009.
    """

    def __init__(self, sentences: Sequence[AbstractSet[str]]) -> None:
        self._sentence_count = len(sentences)
        self._frequencies = Counter(term for sentence in sentences for term in sentence)

    @classmethod
    def of_sources(
        cls, request: GenerationRequest, sentences: Sequence[AbstractSet[str]]
    ) -> SentenceStatistics:
        """The default `StatisticsSource`."""
        del request
        return cls(sentences)

    def idf(self, term: str) -> float:
        """Return the weight of `term`; highest for one that no sentence has."""
        n = self._frequencies[term]
        return math.log1p((self._sentence_count - n + 0.5) / (n + 0.5))
