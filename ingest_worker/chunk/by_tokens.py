"""Chunks that follow headings and paragraphs and are measured in tokens of the embedding model."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from ingest_worker.chunk.anchors import EARLIEST, anchor
from ingest_worker.chunk.drafts import DraftMaker, OnChunk, ignore
from ingest_worker.chunk.ruler import TokenRuler, fit, weight_of
from ingest_worker.chunk.sections import Section, merge_tiny_sections, sections_of
from ingest_worker.chunk.splitting import BlockSplitter, Unit
from ingest_worker.chunk.table_headers import TableHeaders
from rag_server.backends.protocols import Tokenizer
from rag_server.domain.collection import TokenChunking
from rag_server.domain.document import ChunkDraft, ParsedDocument, Span
from rag_server.errors import InvalidArgument

_SENTENCE_START = re.compile(r"[.!?…。！？]['\"”’»)\]]*\s+(?=\S)|[。！？]|\n\s*\n")
_VISIBLE = re.compile(r"\S")
_WORD_START = re.compile(r"\s+(?=\S)")
_UNITS_PER_CHUNK = 8
_SPLIT_BELOW = 0.25
"""A chunk emptier than this share is filled up from the next block rather than closed before it."""


def chunk_by_tokens(
    parsed: ParsedDocument,
    chunking: TokenChunking,
    tokenizer: Tokenizer,
    content_tokens: int,
    on_chunk: OnChunk = ignore,
) -> list[ChunkDraft]:
    """Return the chunks of `parsed`, each of at most `min(chunking.max_tokens, content_tokens)` tokens.

    A chunk never crosses a section, but for tiny neighbouring sections, which share one chunk (see
    `merge_tiny_sections`). Within a section consecutive blocks are packed whole where they fit; the first
    `chunking.overlap_ratio` of a chunk repeats the end of the one before it, less where a whole block would
    otherwise not fit. A chunk that begins below the header of a table repeats the header instead (see
    `TableHeaders`). Takes time in proportion to the length of the text.

    Raises `InvalidArgument` where `max_tokens` is too small for a single character.
    """
    max_tokens = min(chunking.max_tokens, content_tokens)
    ruler = TokenRuler(parsed.text, parsed.blocks, tokenizer)
    headers = TableHeaders(parsed, lambda header: weight_of(header, tokenizer), max_tokens)
    packer = _Packer(parsed.text, ruler, tokenizer, max_tokens, chunking.overlap_ratio, headers)
    maker = DraftMaker(parsed)
    drafts: list[ChunkDraft] = []
    for section in merge_tiny_sections(sections_of(parsed), ruler.weigh, max_tokens):
        for span, fresh in packer.pack(section):
            on_chunk()
            is_behind = bool(drafts) and span.start <= drafts[-1].span.start
            try:
                pieces = fit(fresh if is_behind else span, parsed.text, tokenizer, max_tokens, headers.at)
                if len(pieces) > 1:  # the ruler's estimate was too low: do without the overlap
                    pieces = fit(fresh, parsed.text, tokenizer, max_tokens, headers.at)
            except ValueError as error:
                raise InvalidArgument.for_field(
                    "chunking.max_tokens", "too small for this document"
                ) from error
            drafts += [
                maker.make(piece.span, section.path, piece.token_count, piece.prefix) for piece in pieces
            ]
    return drafts


class _Packer:
    """Packs the blocks of one section after the other into chunks."""

    def __init__(
        self,
        text: str,
        ruler: TokenRuler,
        tokenizer: Tokenizer,
        max_tokens: int,
        overlap_ratio: float,
        headers: TableHeaders,
    ) -> None:
        self._text = text
        self._headers = headers
        self._ruler = ruler
        self._max_tokens = max_tokens
        self._overlap_tokens = int(max_tokens * overlap_ratio)
        unit_tokens = max(max_tokens // _UNITS_PER_CHUNK, min(max_tokens, _UNITS_PER_CHUNK))
        self._splitter = BlockSplitter(text, ruler, tokenizer, unit_tokens, max_tokens // 2)

    def pack(self, section: Section) -> Iterator[tuple[Span, Span]]:
        """Yield the spans of the section's chunks, each with the overlap and without."""
        queue = deque(Unit(block.span.start, block.span.end, True, block) for block in section.blocks)
        previous: Span | None = None
        units: list[Unit] = []  # of the chunk that is being filled
        start = section.span.start
        while queue:
            unit = queue.popleft()
            if not units:
                start = self._start(previous, unit)
            used = self._ruler.weight(start, units[-1].end) if units else 0
            room = self._max_tokens - self._headers.weight_at(start)
            if self._ruler.weight(start, unit.end) <= room or (not units and unit.block is None):
                units.append(unit)
            elif unit.block is not None and (not units or self._is_to_split(used, unit)):
                queue.extendleft(reversed(self._splitter.split(unit.block)))
            else:
                kept = self._best_end(start, units)
                queue.extendleft([unit, *reversed(units[kept:])])
                end = units[kept - 1].end
                previous = Span(units[0].start, end)
                yield Span(start, end), previous
                units = []
        if units:
            end = units[-1].end
            yield Span(start, end), Span(units[0].start, end)

    def _is_to_split(self, used: int, unit: Unit) -> bool:
        """Whether `unit`, a whole block, is to be split so that its start fills up the current chunk."""
        too_long = self._ruler.weight(unit.start, unit.end) > self._max_tokens
        return too_long or used < _SPLIT_BELOW * self._max_tokens

    def _best_end(self, start: int, units: list[Unit]) -> int:
        """Return how many of `units` the chunk keeps, so that it ends with a sentence if it can.

        Within a long block the text chooses one of several sentences or rows (see `anchors`); a whole block
        is kept.
        """
        room = self._max_tokens - self._headers.weight_at(start)
        ends: dict[int, int] = {}
        for kept in range(len(units), 0, -1):
            unit = units[kept - 1]
            if self._ruler.weight(start, unit.end) < EARLIEST * room:
                break
            if unit.is_boundary and not self._headers.is_parted_at(unit.end):
                ends[unit.end] = kept
                if unit.block is not None:
                    break
        chosen = anchor(self._text, ends)
        return len(units) if chosen is None else ends[chosen]

    def _start(self, previous: Span | None, unit: Unit) -> int:
        """Return where the chunk that begins with `unit` starts, the overlap included.

        `previous` is what the chunk before it added to the text; the overlap is less than all of that.
        """
        if previous is None or any(map(self._headers.is_row, (unit.start, previous.end - 1))):
            return unit.start  # rows stand for themselves; what they need is their header
        budget = min(
            self._overlap_tokens,
            self._max_tokens - self._ruler.weight(unit.start, unit.end),
        )
        if budget <= 0:
            return unit.start
        earliest = max(self._ruler.backward(previous.end, budget), previous.start + 1)
        if self._headers.is_row(earliest):
            return unit.start
        latest = self._ruler.backward(previous.end, budget // 2)
        for boundary, last in ((_SENTENCE_START, latest), (_WORD_START, previous.end - 1)):
            # Looking from a little before, because the boundary may end right at `earliest`.
            for match in boundary.finditer(self._text, max(earliest - 8, previous.start), previous.end):
                if earliest <= match.end() <= last:
                    return self._visible(match.end(), unit)
        return self._visible(earliest, unit)

    def _visible(self, position: int, unit: Unit) -> int:
        """Return the first position from `position` to the start of `unit` that holds no white space."""
        found = _VISIBLE.search(self._text, position, unit.start)
        return found.start() if found else unit.start
