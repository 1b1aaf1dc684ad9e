"""Which sentence of the sources says what a sentence of the answer says.

For a sentence with a marker the source is known, and the words decide between its sentences. For one
without, the few sentences that share the most words are compared by embedding as well:

    similarity = (cosine + coverage) / 2

where coverage is the share of the sentence's idf mass that the other one has. Below `MIN_SIMILARITY` there
is none; nor, to spare the embedding, where the words alone make it all but impossible (`MIN_COVERAGE`).
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, TypeVar

from rag_server.backends.protocols import Embedder
from rag_server.domain.document import Span
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import ScoredChunk
from rag_server.errors import ResourceExhausted, Unavailable
from rag_server.text.analyzer import MULTILINGUAL, Analyzer
from rag_server.text.sentences import split_sentences

T = TypeVar("T")

MIN_SIMILARITY: Final = 0.55
"""Of statements made of XQuAD's questions and answers, 88 % are at least so much like a sentence of their
article, and none (English) or 2 % (Spanish) like one of what is left without the paragraph that says it
(`benchmarks/grounding.py`)."""
MIN_LEXEMES: Final = 3
"""A sentence with fewer, such as `Yes.`, is like many others by chance."""
MIN_COVERAGE: Final = 0.25
"""With less of its words in common a sentence would need a cosine above 0.85. Of 546 statements made of XQuAD
that are similar enough to a sentence, none has less (the least: 0.35 in English, 0.28 in Spanish); of those
that stand in no source, this spares six in seven their embedding, some 15 ms each on two cores."""
_LONG: Final = 300
"""Code points, from which on the words of a sentence, or of all sources, are looked at in a thread: for fewer
the change of threads takes longer than the work."""
_EMBEDDED: Final = 4
"""Sentences of the sources that are embedded for one of the answer."""


@dataclass(frozen=True, slots=True)
class Support:
    """A sentence of a source."""

    source_index: int
    span: Span
    """Within the text of the source's chunk."""
    text: str
    similarity: float


@dataclass(frozen=True, slots=True)
class _Sentence:
    source_index: int
    span: Span
    text: str


class SourceSentences:
    """The sentences of the sources of one answer. Pure CPU: of more than a few made off the event loop."""

    def __init__(
        self, sources: Sequence[ScoredChunk], offered: AbstractSet[int], analyze: Callable[[str], list[str]]
    ) -> None:
        self._sources = sources
        self._analyze = analyze
        self._sentences: list[_Sentence] = []
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        """Of each lexeme, the sentences that have it."""
        for index in sorted(offered):
            text = sources[index].chunk.text
            for span in split_sentences(text):
                sentence = text[span.start : span.end]
                for lexeme in set(analyze(sentence)):
                    self._places[lexeme].append(len(self._sentences))
                self._sentences.append(_Sentence(index, span, sentence))

    def within(self, text: str, source_index: int) -> Support:
        """Return the sentence of a source with the most of the words of `text`; all of it if none has any."""
        for coverage, best in self._ranked(set(self._analyze(text))):
            if best.source_index == source_index:
                return Support(source_index, best.span, best.text, coverage)
        whole = self._sources[source_index].chunk.text
        return Support(source_index, Span(0, len(whole)), whole, 0.0)

    def alike(self, text: str) -> list[Support]:
        """Return the sentences that share the most words with `text`, enough to be asked about any further.

        Their similarity is the coverage.
        """
        lexemes = set(self._analyze(text))
        if len(lexemes) < MIN_LEXEMES:
            return []
        return [
            Support(each.source_index, each.span, each.text, coverage)
            for coverage, each in self._ranked(lexemes)[:_EMBEDDED]
            if coverage >= MIN_COVERAGE
        ]

    def _ranked(self, lexemes: AbstractSet[str]) -> list[tuple[float, _Sentence]]:
        """Return the sentences that have some of `lexemes` with the share of the idf mass, the best first.

        O(p log p) for p places of the lexemes in the sources.
        """
        shared: defaultdict[int, float] = defaultdict(float)
        total = 0.0
        for lexeme in sorted(lexemes):  # sums do not depend on the order of a set
            places = self._places.get(lexeme, ())
            idf = math.log(1 + (len(self._sentences) + 1) / (len(places) + 0.5))
            total += idf
            for place in places:
                shared[place] += idf
        # of equals the one of the better source, then the earlier one
        ranked = sorted(shared.items(), key=lambda pair: (-pair[1], pair[0]))
        return [(mass / total, self._sentences[place]) for place, mass in ranked]


class Attributor:
    """Finds the support for the sentences of answers."""

    def __init__(
        self, embedder: Embedder, analyzer_for: Callable[[str], Analyzer] = Analyzer.for_language
    ) -> None:
        self._embedder = embedder
        self._analyzer_for = analyzer_for

    async def read(
        self, sources: Sequence[ScoredChunk], offered: AbstractSet[int], language: str
    ) -> SourceSentences:
        """Return the sentences of the sources that the model was offered."""
        analyze = self._analyzer_for(language or MULTILINGUAL).analyze
        length = sum(len(sources[index].chunk.text) for index in offered)
        return await _off_the_loop_if_long(length, lambda: SourceSentences(sources, offered, analyze))

    async def support_within(self, sentences: SourceSentences, text: str, source_index: int) -> Support:
        """Return what one source says of it."""
        return await _off_the_loop_if_long(len(text), lambda: sentences.within(text, source_index))

    async def support(self, sentences: SourceSentences, text: str) -> Support | None:
        """Return the sentence that says what `text` says; None: none does, or the embedder cannot say."""
        candidates = await _off_the_loop_if_long(len(text), lambda: sentences.alike(text))
        if not candidates:
            return None
        try:
            vectors = await self._embedder.embed(
                [text, *(each.text for each in candidates)], priority=Priority.INTERACTIVE
            )
        except (Unavailable, ResourceExhausted):  # the answer stands without this hint
            return None
        cosines = vectors[1:] @ vectors[0]
        rated = [
            Support(each.source_index, each.span, each.text, (float(cosine) + each.similarity) / 2)
            for each, cosine in zip(candidates, cosines, strict=True)
        ]
        best = max(rated, key=lambda each: each.similarity)
        if best.similarity < MIN_SIMILARITY:
            return None
        return Support(best.source_index, best.span, best.text, min(1.0, best.similarity))


async def _off_the_loop_if_long(length: int, work: Callable[[], T]) -> T:
    """Return what `work` makes of a text of `length` code points, in a thread where that is long."""
    return await asyncio.to_thread(work) if length > _LONG else work()
