"""Cuts the retrieved passages into sentences that may be quoted, each of them once.

Chunks overlap, so the same sentence comes in two of them, in one perhaps cut short. Spans within
the document tell: a sentence inside another one's span is the same, and the longer one stays.
The same words in two documents are one candidate too; the better-ranked source is cited.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cachetools import LRUCache

from rag_server.backends.extractive.markup import markup_spans
from rag_server.backends.extractive.quotable import is_quotable
from rag_server.domain.document import Chunk, Span
from rag_server.domain.retrieval import ScoredChunk
from rag_server.text.analyzer import Analyzer
from rag_server.text.sentences import split_sentences

REMEMBERED: Final = 1024
"""Passages, some 15 kB each when they have 1000 characters."""

Analyze = Callable[[str], list[str]]
"""From a text to its lexemes."""


@dataclass(frozen=True, slots=True)
class CandidateSentence:
    """A sentence that may be quoted."""

    source_index: int
    """0-based index into the sources."""
    span: Span
    """Within the text of the source's chunk."""
    text: str
    lexemes: frozenset[str]
    context_lexemes: frozenset[str]
    """Those of the sentence and of the one before it, which says what its pronouns stand for,
    asks what it answers, or is the heading above it."""
    passage_lexemes: frozenset[str]
    """Those of the whole chunk, its title and the headings above it."""


def find_candidates(sources: Sequence[ScoredChunk], analyze: Analyze) -> list[CandidateSentence]:
    """Return the quotable sentences of `sources` without repetition, in the order of the sources."""
    return _distinct(sources, lambda chunk: _sentences_of(chunk, analyze))


class CandidateReader:
    """Reads passages, and remembers those read last: most questions find some that others have found.

    Thread-safe. A reading depends on the words of a passage and of what stands above it alone.
    """

    def __init__(self, max_passages: int = REMEMBERED) -> None:
        """Remember at most `max_passages`; 0: none."""
        self._read: LRUCache[Hashable, list[CandidateSentence]] = LRUCache(max_passages)
        self._lock = threading.Lock()

    def find(self, sources: Sequence[ScoredChunk], analyzer: Analyzer) -> list[CandidateSentence]:
        """Return what `find_candidates` does."""
        return _distinct(sources, lambda chunk: self._sentences_of(chunk, analyzer))

    def _sentences_of(self, chunk: Chunk, analyzer: Analyzer) -> list[CandidateSentence]:
        key = (analyzer.language, chunk.text, chunk.title, chunk.heading_path)
        with self._lock:
            known = self._read.get(key)
        if known is None:
            known = _sentences_of(chunk, analyzer.analyze)
            with self._lock:
                if self._read.maxsize:
                    self._read[key] = known
        return known


def _distinct(
    sources: Sequence[ScoredChunk], sentences_of: Callable[[Chunk], list[CandidateSentence]]
) -> list[CandidateSentence]:
    candidates = [
        replace(candidate, source_index=index)
        for index, source in enumerate(sources)
        for candidate in sentences_of(source.chunk)
    ]
    return _without_same_words(_without_same_place(candidates, sources))


def _sentences_of(chunk: Chunk, analyze: Analyze) -> list[CandidateSentence]:
    spans = split_sentences(chunk.text)
    texts = [chunk.text[span.start : span.end] for span in spans]
    lexemes = [frozenset(analyze(text)) for text in texts]
    headings = (*chunk.heading_path, chunk.title)
    passage = frozenset().union(*lexemes, *(analyze(heading) for heading in headings))
    titles = {_bare(heading) for heading in headings}
    markup = markup_spans(chunk.text)
    return [
        CandidateSentence(
            source_index=0,
            span=span,
            text=text,
            lexemes=lexemes[i],
            context_lexemes=lexemes[i] | lexemes[i - 1] if i else lexemes[i],
            passage_lexemes=passage,
        )
        for i, (span, text) in enumerate(zip(spans, texts, strict=True))
        if is_quotable(text) and _bare(text) not in titles and not _overlaps(span, markup)
    ]


def _overlaps(span: Span, others: Sequence[Span]) -> bool:
    return any(span.start < other.end and other.start < span.end for other in others)


def _without_same_place(
    candidates: list[CandidateSentence], sources: Sequence[ScoredChunk]
) -> list[CandidateSentence]:
    """Drop sentences that lie within another one of the same document revision."""
    documents: dict[tuple[str, str, int], list[tuple[int, int, int]]] = {}
    for position, candidate in enumerate(candidates):
        chunk = sources[candidate.source_index].chunk
        document = (chunk.collection_id, chunk.document_id, chunk.document_revision)
        shift = chunk.span.end - len(chunk.text)  # the text may start with repeated header rows
        start, end = (shift + offset for offset in (candidate.span.start, candidate.span.end))
        documents.setdefault(document, []).append((start, -end, position))
    kept: list[int] = []
    for places in documents.values():
        reached = 0
        # The longest of those that start together comes first, and of equals the best-ranked.
        for _, negative_end, position in sorted(places):
            if -negative_end > reached:
                reached = -negative_end
                kept.append(position)
    return [candidates[position] for position in sorted(kept)]


def _without_same_words(candidates: list[CandidateSentence]) -> list[CandidateSentence]:
    first: dict[str, CandidateSentence] = {}
    for candidate in candidates:
        first.setdefault(_bare(candidate.text), candidate)
    return list(first.values())


def _bare(text: str) -> str:
    """What is left of a sentence or heading when case, spacing and Markdown's `#` do not count."""
    return " ".join(text.lstrip("# ").casefold().split())
