"""The extractive generator: quotes the sentences that answer the question, and invents nothing.

    candidates -> lexical evidence -> shortlist -> embed -> dense evidence -> select -> confident?
               -> fit the budget -> quote

What a document says is data: it is scored and quoted, never interpreted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rag_server.backends.extractive.answer_type import asks_for_number, has_number
from rag_server.backends.extractive.candidates import CandidateReader, CandidateSentence
from rag_server.backends.extractive.courtesies import without_courtesies
from rag_server.backends.extractive.evidence import (
    Scores,
    combine,
    dense_evidence,
    lexical_evidence,
    passage_cosines,
    standings,
)
from rag_server.backends.extractive.selection import fit, rank, select
from rag_server.backends.extractive.statistics import SentenceStatistics, StatisticsSource
from rag_server.backends.extractive.word_families import related_lexemes
from rag_server.backends.protocols import Embedder, Embeddings, GeneratorModel
from rag_server.domain.document import Span
from rag_server.domain.generation import (
    Citation,
    Cited,
    Delta,
    FinishReason,
    GenerationRequest,
    Prompt,
    Usage,
    Words,
)
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import ScoredChunk
from rag_server.text.analyzer import MULTILINGUAL, Analyzer
from rag_server.text.language import detect_language
from rag_server.text.phrases import no_relevant_content

NAME = "extractive"

MAX_SENTENCES = 3
"""Sentences quoted at most."""

MIN_CONFIDENCE = 0.43
"""Below it the generator abstains. On XQuAD fewer than one answerable question in ten then goes unanswered
in either language, however the passages were ranked (`benchmarks/extractive.py`)."""

MAX_EMBEDDED_SENTENCES = 12
"""Sentences that the model looks at; a lexical preselection decides. It bounds the time to the first
word (some 15 ms per sentence on two cores), and costs 0.1 points of accuracy on XQuAD."""

UNSPOKEN_WEIGHT = 0.5
"""What the model's word counts for in ranking when the question is in a language it was not trained for."""

NUMBER_BONUS = 0.0625
"""Added in ranking to a sentence with a number when the question asks for one: what a quarter of the
question's words in it would add."""

STANDING_WEIGHT = 0.2
"""What a sentence loses in ranking by the share of the best source's score that its own source lacks.
Confidence does without it: something always comes first."""

SEPARATOR = "\n"
"""Between two quotes."""


@dataclass(frozen=True, slots=True)
class _Shortlist:
    """The question's candidates that are worth embedding."""

    candidates: list[CandidateSentence]
    lexical: Scores
    has_terms: bool


class ExtractiveGenerator:
    """A `Generator` that answers with at most `max_sentences` quotes, best first, one per line.

    Example:
        generator = ExtractiveGenerator(embedder, Analyzer.for_language)
        async for event in generator.generate(Prompt(request, sources)):
            ...

    The question's language decides on stop words and stems, whatever the collection's analyser is.
    Tokens are those of the embedding model. Errors of the embedder pass through.
    """

    def __init__(
        self,
        embedder: Embedder,
        analyzer_for: Callable[[str], Analyzer] = Analyzer.for_language,
        *,
        statistics: StatisticsSource = SentenceStatistics.of_sources,
        max_sentences: int = MAX_SENTENCES,
        min_confidence: float = MIN_CONFIDENCE,
    ) -> None:
        if max_sentences < 1:
            raise ValueError("max_sentences must be at least 1")
        self._embedder = embedder
        self._analyzer_for = analyzer_for
        self._statistics = statistics
        self._max_sentences = max_sentences
        self._min_confidence = min_confidence
        self._reader = CandidateReader()

    @property
    def model(self) -> GeneratorModel:
        """The name that answers carry; there is no window."""
        return GeneratorModel(NAME)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text for the embedding model."""
        count = self._embedder.tokenizer.count
        return [count(text) for text in texts]

    async def check(self) -> None:
        """Ask nothing: the embedder has a check of its own."""

    async def close(self) -> None:
        """Close nothing: the embedder is others', too."""

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Words, None]:
        """Yield a delta and a citation per quote, then the usage and the reason.

        `MAX_TOKENS` when a chosen sentence did not fit `request.max_tokens` (none is ever cut; the
        answer is empty when not even one fits), `NO_RELEVANT_CONTENT` after the fixed phrase, which is
        sent whole whatever the limit.
        """
        request, sources = prompt.request, prompt.sources
        question = request.question
        language = detect_language(question)
        chosen = await self._choose(request, sources, language)
        count = self._embedder.tokenizer.count
        prompt_tokens = await asyncio.to_thread(count, question)
        prompt_tokens += sum(source.chunk.token_count for source in sources)
        if not chosen:
            phrase = no_relevant_content(request.language or language)
            yield Delta(phrase)
            yield Usage(prompt_tokens, await asyncio.to_thread(count, phrase))
            yield FinishReason.NO_RELEVANT_CONTENT
            return

        quotes, all_fit = await asyncio.to_thread(fit, chosen, request.max_tokens, count)
        length = 0
        for candidate, _ in quotes:
            separator = SEPARATOR if length else ""
            start = length + len(separator)
            length = start + len(candidate.text)
            yield Delta(separator + candidate.text)
            yield Cited(Citation(candidate.source_index, Span(start, length), candidate.span, candidate.text))
        yield Usage(prompt_tokens, sum(tokens for _, tokens in quotes))
        yield FinishReason.COMPLETE if all_fit else FinishReason.MAX_TOKENS

    async def _choose(
        self, request: GenerationRequest, sources: Sequence[ScoredChunk], language: str
    ) -> list[CandidateSentence]:
        """Return the sentences to quote, best first; none means: abstain."""
        if not sources:
            return []
        question = without_courtesies(request.question)
        shortlist = await asyncio.to_thread(self._shortlist, request, question, sources, language)
        if not shortlist.candidates:
            return []
        texts = [question, *(candidate.text for candidate in shortlist.candidates)]
        vectors = await self._embedder.embed(texts, priority=Priority.INTERACTIVE)
        return self._pick(question, language, shortlist, vectors, sources)

    def _shortlist(
        self, request: GenerationRequest, question: str, sources: Sequence[ScoredChunk], language: str
    ) -> _Shortlist:
        """Find the candidates and keep those with the most lexical evidence and the best sources."""
        analyzer = self._analyzer_for(language or MULTILINGUAL)
        terms = dict.fromkeys(analyzer.analyze(question))
        candidates = self._reader.find(sources, analyzer)
        statistics = self._statistics(request, [candidate.lexemes for candidate in candidates])
        vocabulary = frozenset().union(*{candidate.passage_lexemes for candidate in candidates})
        weights = {term: statistics.idf(term) for term in terms}
        lexical = lexical_evidence(weights, candidates, related_lexemes(terms, vocabulary))
        # The rank of the source decides where words do not: between languages, above all.
        prior = np.array([0.5 / (1 + candidate.source_index) for candidate in candidates])
        kept = sorted(rank(lexical + prior)[:MAX_EMBEDDED_SENTENCES])
        return _Shortlist([candidates[i] for i in kept], lexical[kept], bool(terms))

    def _pick(
        self,
        question: str,
        language: str,
        shortlist: _Shortlist,
        vectors: Embeddings,
        sources: Sequence[ScoredChunk],
    ) -> list[CandidateSentence]:
        """Rank the shortlist by both views and return what to quote, unless the best is too weak."""
        cosines = (vectors[1:] @ vectors[0]).astype(np.float64)
        dense = dense_evidence(cosines, shortlist.candidates, passage_cosines(sources))
        lexical, has_terms = shortlist.lexical, shortlist.has_terms
        weight = 1.0 if self._is_spoken(language) else UNSPOKEN_WEIGHT
        scores = combine(lexical, dense, dense_weight=weight, has_terms=has_terms)
        lacking = 1.0 - standings(sources)
        scores = scores - STANDING_WEIGHT * lacking[[each.source_index for each in shortlist.candidates]]
        if asks_for_number(question):
            numbers = [has_number(candidate.text) for candidate in shortlist.candidates]
            scores = scores + NUMBER_BONUS * np.array(numbers, dtype=np.float64)
        chosen = select(scores, self._max_sentences)
        confidence = combine(lexical, dense, has_terms=has_terms)[chosen[0]]
        if confidence < self._min_confidence:
            return []
        return [shortlist.candidates[i] for i in chosen]

    def _is_spoken(self, language: str) -> bool:
        """Whether the model knows the question's language; one that was not recognised counts as known."""
        return not language or language in self._embedder.model.languages
