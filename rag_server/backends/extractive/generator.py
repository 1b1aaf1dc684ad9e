"""The extractive generator: quotes the sentences that answer the question, and invents nothing.

    the best sources -> candidates -> lexical evidence -> do the words decide? -> choose -> quote
    otherwise, all sources -> candidates -> lexical evidence -> shortlist -> embed -> choose -> confident?
                           -> quote

Embedding sentences takes ten times as long as all the rest, and changes little where one sentence has most of
the question's words. What a document says is data: it is scored and quoted, never interpreted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rag_server.backends.extractive.candidates import REMEMBERED, CandidateReader, CandidateSentence
from rag_server.backends.extractive.choice import choose
from rag_server.backends.extractive.courtesies import without_courtesies
from rag_server.backends.extractive.evidence import Scores, has_cosines
from rag_server.backends.extractive.reading import Reading, read
from rag_server.backends.extractive.selection import fit
from rag_server.backends.extractive.statistics import SentenceStatistics, StatisticsSource
from rag_server.backends.protocols import Embedder, GeneratorModel
from rag_server.domain.document import Span
from rag_server.domain.generation import (
    Citation,
    Cited,
    Delta,
    FinishReason,
    Message,
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

SOURCES_READ_FIRST = 4
"""Sources, the best ones, in which the words may decide. To read a passage for the first time takes longer
than to retrieve one."""

DECISIVE_EVIDENCE = 0.45
"""Lexical evidence of one sentence from which on the words decide, as they do for three questions of four of
XQuAD, which are then answered no worse than with the model (docs/decisions/0034-words-first.md)."""

MAX_EMBEDDED_SENTENCES = 12
"""Sentences that the model looks at; a lexical preselection decides. It bounds the time to the first
word (some 4 ms per sentence on two cores), and costs 0.1 points of accuracy on XQuAD."""

SEPARATOR = "\n"
"""Between two quotes."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be answered."""

    prompt: Prompt
    question: str
    """Without courtesies."""
    language: str
    """That of the question; empty: not recognised."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """An answer before it is told."""

    quotes: list[tuple[CandidateSentence, int]]
    """With the tokens of each."""
    prompt_tokens: int
    reason: FinishReason


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
        max_passages: int = REMEMBERED,
    ) -> None:
        """Remember what was read of at most `max_passages`; 0: of none."""
        if max_sentences < 1:
            raise ValueError("max_sentences must be at least 1")
        self._embedder = embedder
        self._analyzer_for = analyzer_for
        self._statistics = statistics
        self._max_sentences = max_sentences
        self._min_confidence = min_confidence
        self._reader = CandidateReader(max_passages)

    @property
    def model(self) -> GeneratorModel:
        """The name that answers carry; there is no window."""
        return GeneratorModel(NAME)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text for the embedding model."""
        count = self._embedder.tokenizer.count
        return [count(text) for text in texts]

    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Return the number of tokens of messages, which it does not read itself."""
        return sum(self.count_tokens([each.text for each in messages]))

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
        question = prompt.request.question
        asked = _Asked(prompt, without_courtesies(question), detect_language(question))
        draft = await asyncio.to_thread(self._by_words, asked)
        if isinstance(draft, Reading):
            texts = [asked.question, *(candidate.text for candidate in draft.candidates)]
            vectors = await self._embedder.embed(texts, priority=Priority.INTERACTIVE)
            cosines = (vectors[1:] @ vectors[0]).astype(np.float64)
            draft = await asyncio.to_thread(self._by_meaning, asked, draft, cosines)
        if draft.reason is FinishReason.NO_RELEVANT_CONTENT:
            phrase = no_relevant_content(prompt.request.language or asked.language)
            yield Delta(phrase)
            yield Usage(draft.prompt_tokens, await asyncio.to_thread(self._embedder.tokenizer.count, phrase))
            yield draft.reason
            return

        length = 0
        for candidate, _ in draft.quotes:
            separator = SEPARATOR if length else ""
            start = length + len(separator)
            length = start + len(candidate.text)
            yield Delta(separator + candidate.text)
            yield Cited(Citation(candidate.source_index, Span(start, length), candidate.span, candidate.text))
        yield Usage(draft.prompt_tokens, sum(tokens for _, tokens in draft.quotes))
        yield draft.reason

    def _by_words(self, asked: _Asked) -> _Draft | Reading:
        """Return the answer where the words decide, else the sentences that the model is to look at."""
        sources = asked.prompt.sources
        if not sources:
            return self._draft(asked.prompt, [])
        first = self._read(asked, sources[:SOURCES_READ_FIRST])
        is_decided = first.lexical.max(initial=0.0) >= DECISIVE_EVIDENCE and has_cosines(sources)
        if is_decided and (sentences := self._confident(asked, first)):
            return self._draft(asked.prompt, sentences)
        shortlist = self._read(asked, sources).shortlist(MAX_EMBEDDED_SENTENCES)
        return shortlist if shortlist.candidates else self._draft(asked.prompt, [])

    def _by_meaning(self, asked: _Asked, shortlist: Reading, cosines: Scores) -> _Draft:
        """Return the answer of a shortlist; `cosines`: of the question and each of its sentences."""
        return self._draft(asked.prompt, self._confident(asked, shortlist, cosines))

    def _read(self, asked: _Asked, sources: Sequence[ScoredChunk]) -> Reading:
        statistics = partial(self._statistics, asked.prompt.request)
        analyzer = self._analyzer_for(asked.language or MULTILINGUAL)
        return read(asked.question, sources, analyzer=analyzer, reader=self._reader, statistics=statistics)

    def _confident(
        self, asked: _Asked, reading: Reading, cosines: Scores | None = None
    ) -> list[CandidateSentence]:
        """Return the sentences to quote, best first; none where the best is too weak. See `choose`."""
        choice = choose(
            asked.question,
            reading,
            cosines,
            asked.prompt.sources,
            # a language that was not recognised counts as known
            is_spoken=not asked.language or asked.language in self._embedder.model.languages,
            limit=self._max_sentences,
        )
        return choice.sentences if choice.confidence >= self._min_confidence else []

    def _draft(self, prompt: Prompt, sentences: Sequence[CandidateSentence]) -> _Draft:
        """Return the answer that quotes as many of `sentences` as fit; of none, the one that abstains."""
        count = self._embedder.tokenizer.count
        prompt_tokens = count(prompt.request.question)
        prompt_tokens += sum(source.chunk.token_count for source in prompt.sources)
        if not sentences:
            return _Draft([], prompt_tokens, FinishReason.NO_RELEVANT_CONTENT)
        quotes, all_fit = fit(sentences, prompt.request.max_tokens, count)
        return _Draft(quotes, prompt_tokens, FinishReason.COMPLETE if all_fit else FinishReason.MAX_TOKENS)
