"""Splitting a block that is longer than a chunk into units that a chunk can be packed from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from semchunk.semchunk import chunk as split_by_meaning

from ingest_worker.chunk.ruler import TokenRuler
from ingest_worker.chunk.word_weights import WordWeights
from rag_server.backends.protocols import Tokenizer
from rag_server.domain.document import Block, BlockKind

_LINE_KINDS = {BlockKind.CODE, BlockKind.TABLE, BlockKind.LIST}
_SENTENCE_END = re.compile(r"[.!?…。！？]['\"”’»)\]]*\Z")
_LONG_WORD = re.compile(r"(?<!\S)\S{257,}")
"""No word of a language with spaces: encoded data, or a script that writes none."""
_UNSPACED_STOPS = re.compile("[。！？；，、．]")
_SEGMENT_CHARACTERS = 16_384
"""semchunk gets at most so much at a time: its time and its recursion grow with the text."""
_SEGMENT_CUTS = (re.compile(r"[.!?…]['\"”’»)\]]*\s+"), re.compile(r"\s+"))


@dataclass(frozen=True, slots=True)
class Unit:
    """A range of text that a chunk takes whole."""

    start: int
    end: int
    is_boundary: bool
    """Whether a sentence, a line or a block ends here."""
    block: Block | None = None
    """The block that this unit is the whole of; None for a part of one."""


class BlockSplitter:
    """Splits blocks into units of about `unit_tokens`; rows of tables stay whole up to `row_tokens`."""

    def __init__(
        self, text: str, ruler: TokenRuler, tokenizer: Tokenizer, unit_tokens: int, row_tokens: int
    ) -> None:
        self._text = text
        self._ruler = ruler
        self._weigh = WordWeights(tokenizer)
        self._unit_tokens = unit_tokens
        self._row_tokens = max(unit_tokens, row_tokens)

    def split(self, block: Block) -> list[Unit]:
        """Return the units of `block` in order: lines of code, tables and lists, else runs of sentences.

        All of the block but white space is in some unit.
        """
        start, end = block.span.start, block.span.end
        if block.kind in _LINE_KINDS:
            limit = self._row_tokens if block.kind is BlockKind.TABLE else self._unit_tokens
            return [
                unit
                for line_start, line_end in self._lines(start, end)
                for unit in self._line(line_start, line_end, limit)
            ]
        return list(self._prose(start, end))

    def _lines(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for line in re.compile(r"\S[^\n]*").finditer(self._text, start, end):
            yield line.start(), line.start() + len(line[0].rstrip())

    def _line(self, start: int, end: int, limit: int) -> Iterator[Unit]:
        if self._ruler.weight(start, end) <= limit:
            yield Unit(start, end, is_boundary=True)
        else:
            yield from self._prose(start, end)

    def _prose(self, start: int, end: int) -> Iterator[Unit]:
        while start < end:
            stop = self._segment_end(start, end)
            segment = self._text[start:stop]
            position = 0
            for word in _LONG_WORD.finditer(segment):
                yield from self._sentences(start + position, start + word.start())
                yield from self._long_word(start + word.start(), start + word.end())
                position = word.end()
            yield from self._sentences(start + position, stop)
            start = stop

    def _sentences(self, start: int, end: int) -> Iterator[Unit]:
        if start == end:
            return
        # A line end within prose means no more than a space; semchunk would prefer it to a full stop.
        segment = self._text[start:end].replace("\n", " ")
        result = split_by_meaning(
            segment,
            self._unit_tokens,
            self._weigh,
            memoize=False,
            offsets=True,
        )
        offsets = cast("list[tuple[int, int]]", result[1])  # its type depends on `offsets`
        for first, last in offsets:
            yield from self._trimmed(start + first, start + last)

    def _segment_end(self, start: int, end: int) -> int:
        limit = start + _SEGMENT_CHARACTERS
        if end <= limit:
            return end
        for cut in _SEGMENT_CUTS:
            found = [
                match.end() for match in cut.finditer(self._text, limit - _SEGMENT_CHARACTERS // 4, limit)
            ]
            if found:
                return found[-1]
        return limit

    def _long_word(self, start: int, end: int) -> Iterator[Unit]:
        while start < end:
            stop = min(self._ruler.forward(start, self._unit_tokens), end)
            stops = [
                match.end()
                for match in _UNSPACED_STOPS.finditer(self._text, start + (stop - start) // 2, stop)
            ]
            if stops and stop < end:
                stop = stops[-1]
            yield Unit(start, stop, is_boundary=bool(_SENTENCE_END.search(self._text[start:stop])))
            start = stop

    def _trimmed(self, start: int, end: int) -> Iterator[Unit]:
        piece = self._text[start:end]
        start += len(piece) - len(piece.lstrip())
        piece = piece.strip()
        if piece:
            yield Unit(start, start + len(piece), is_boundary=bool(_SENTENCE_END.search(piece)))
