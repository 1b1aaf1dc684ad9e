"""Chunks of about a number of characters, cut between words; they may be longer than the model's window."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from ingest_worker.chunk.anchors import EARLIEST, anchor
from ingest_worker.chunk.drafts import DraftMaker, OnChunk, ignore
from ingest_worker.chunk.sections import sections_of
from ingest_worker.chunk.table_headers import TableHeaders
from rag_server.backends.protocols import Tokenizer
from rag_server.domain.collection import CharacterChunking
from rag_server.domain.document import ChunkDraft, ParsedDocument, Span

_VISIBLE = re.compile(r"\S")
_WORD_START = re.compile(r"\s(?=\S)")
_WORD_END = re.compile(r"(?<=\S)\s")


def chunk_by_characters(
    parsed: ParsedDocument, chunking: CharacterChunking, tokenizer: Tokenizer, on_chunk: OnChunk = ignore
) -> list[ChunkDraft]:
    """Return the chunks of `parsed`, each of at most `chunking.max_characters` code points.

    Chunks run across headings; the heading path of one is that of its first character. Each repeats about
    `chunking.overlap_characters` of the one before it, from the start of a word on. A word is cut only
    where it fills half a chunk. A chunk that begins below the header of a table repeats the header instead of
    its predecessor's end, and ends with a row if one ends in its second half. Chunks, header included, have
    between three quarters of the maximum and all of it where a row or a word ends there; an edit changes
    those that it touches and a few after them.
    """
    sections = sections_of(parsed)
    starts = [section.span.start for section in sections]
    maker = DraftMaker(parsed)
    drafts: list[ChunkDraft] = []
    headers = TableHeaders(parsed, len, chunking.max_characters)
    for span in _spans(parsed.text, chunking, headers):
        on_chunk()
        section = sections[max(bisect_right(starts, span.start) - 1, 0)]
        prefix = headers.at(span.start)
        count = tokenizer.count(prefix + parsed.text[span.start : span.end])
        drafts.append(maker.make(span, section.path, count, prefix))
    return drafts


def _spans(text: str, chunking: CharacterChunking, headers: TableHeaders) -> Iterator[Span]:
    start = _next_visible(text, 0)
    while start < len(text):
        end = _end(text, start, chunking.max_characters, headers)
        yield Span(start, start + len(text[start:end].rstrip()))
        if _next_visible(text, end) >= len(text):
            break
        start = _overlapping_start(text, start, end, chunking, headers)


def _end(text: str, start: int, most: int, headers: TableHeaders) -> int:
    """Return where a chunk that begins at `start` ends: after a word that ends in its second half.

    Within a table that is the last word of a row, if there is one. Of the words that end in the last quarter
    the text chooses one (see `anchors`). The chunk has `most` characters with the header that it repeats.
    """
    max_characters = most - headers.weight_at(start)
    limit = start + max_characters
    if limit >= len(text):
        return len(text)
    middle, earliest = start + max_characters // 2, start + int(EARLIEST * max_characters)
    late = [word.start() for word in _WORD_END.finditer(text, earliest, limit + 1)]
    early = [position for position in range(earliest, middle, -1) if text[position].isspace()]
    for is_bad in (headers.is_parted_at, lambda position: False):
        chosen = anchor(text, (place for place in late if not is_bad(place)))
        if chosen is None:
            chosen = next((place for place in early if not is_bad(place)), None)
        if chosen is not None:
            return chosen
    return limit


def _overlapping_start(
    text: str, start: int, end: int, chunking: CharacterChunking, headers: TableHeaders
) -> int:
    """Return the start of the next chunk: it goes back by the overlap, and its end goes beyond `end`."""
    without_overlap = _next_visible(text, end)
    earliest = max(end - chunking.overlap_characters, start + 1)
    is_row = any(map(headers.is_row, (without_overlap, end - 1)))
    if not chunking.overlap_characters or earliest >= end or is_row:
        return without_overlap
    word = _WORD_START.search(text, earliest - 1, end)
    candidate = word.end() if word else earliest
    reached = _end(text, candidate, chunking.max_characters, headers)
    is_behind = candidate >= end or _next_visible(text, end) >= reached
    if is_behind or headers.is_row(candidate):
        return without_overlap
    return _next_visible(text, candidate)


def _next_visible(text: str, position: int) -> int:
    """Return the first position from `position` on that holds no white space, or the length of `text`."""
    found = _VISIBLE.search(text, position)
    return found.start() if found else len(text)
