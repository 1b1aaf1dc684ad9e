"""Chunks of a fixed number of characters, cut between words; they may be longer than the model's window."""

from __future__ import annotations

import re
from bisect import bisect_right

from ingest_worker.chunk.drafts import DraftMaker
from ingest_worker.chunk.sections import sections_of
from rag_server.backends.protocols import Tokenizer
from rag_server.domain.collection import CharacterChunking
from rag_server.domain.document import ChunkDraft, ParsedDocument, Span

_VISIBLE = re.compile(r"\S")
_WORD_START = re.compile(r"\s(?=\S)")


def chunk_by_characters(
    parsed: ParsedDocument, chunking: CharacterChunking, tokenizer: Tokenizer
) -> list[ChunkDraft]:
    """Return the chunks of `parsed`, each of at most `chunking.max_characters` code points.

    Chunks run across headings; the heading path of one is that of its first character. Each repeats about
    `chunking.overlap_characters` of the one before it, from the start of a word on. A word is cut only
    where it fills half a chunk.
    """
    sections = sections_of(parsed)
    starts = [section.span.start for section in sections]
    maker = DraftMaker(parsed)
    drafts: list[ChunkDraft] = []
    for span in _spans(parsed.text, chunking):
        section = sections[max(bisect_right(starts, span.start) - 1, 0)]
        count = tokenizer.count(parsed.text[span.start : span.end])
        drafts.append(maker.make(span, section.path, count))
    return drafts


def _spans(text: str, chunking: CharacterChunking) -> list[Span]:
    spans: list[Span] = []
    start = _next_visible(text, 0)
    while start < len(text):
        end = _end(text, start, chunking.max_characters)
        spans.append(Span(start, start + len(text[start:end].rstrip())))
        if _next_visible(text, end) >= len(text):
            break
        start = _overlapping_start(text, start, end, chunking)
    return spans


def _end(text: str, start: int, max_characters: int) -> int:
    """Return where a chunk that begins at `start` ends: after a word, if one ends in its second half."""
    limit = start + max_characters
    if limit >= len(text) or text[limit].isspace():
        return min(limit, len(text))
    for position in range(limit, start + max_characters // 2, -1):
        if text[position - 1].isspace():
            return position
    return limit


def _overlapping_start(text: str, start: int, end: int, chunking: CharacterChunking) -> int:
    """Return the start of the next chunk: it goes back by the overlap, and its end goes beyond `end`."""
    without_overlap = _next_visible(text, end)
    earliest = max(end - chunking.overlap_characters, start + 1)
    if not chunking.overlap_characters or earliest >= end:
        return without_overlap
    word = _WORD_START.search(text, earliest - 1, end)
    candidate = word.end() if word else earliest
    if candidate >= end or _next_visible(text, end) >= _end(text, candidate, chunking.max_characters):
        return without_overlap
    return _next_visible(text, candidate)


def _next_visible(text: str, position: int) -> int:
    """Return the first position from `position` on that holds no white space, or the length of `text`."""
    found = _VISIBLE.search(text, position)
    return found.start() if found else len(text)
