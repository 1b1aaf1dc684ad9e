"""From a format's blocks to a `ParsedDocument`: either the blocks make the text, or they point into it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.normalize import normalize
from rag_server.domain.document import Block, BlockKind, ParsedDocument, Span

_BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A block that still carries its own text."""

    kind: BlockKind
    text: str
    level: int = 0
    page: int | None = None


def assemble(
    blocks: Iterable[TextBlock], *, title: str = "", language: str = "", page_count: int | None = None
) -> ParsedDocument:
    """Join `blocks` with a blank line between them; empty ones are left out.

    Raises `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) at the block that makes it too much text: a format whose
    text is longer than its bytes yields its blocks one by one.
    """
    pieces: list[str] = []
    placed: list[Block] = []
    position = 0
    for block in blocks:
        text = normalize(block.text).strip()
        if not text:
            continue
        placed.append(Block(block.kind, Span(position, position + len(text)), block.level, block.page))
        pieces.append(text)
        position += len(text) + 2
        require_characters(position - 2)
    return ParsedDocument("\n\n".join(pieces), tuple(placed), one_line(title), language, page_count)


def trimmed(text: str, start: int, end: int) -> Span | None:
    """Return the range without white space at its ends, or None if nothing is left."""
    piece = text[start:end]
    length = len(piece.strip())
    if not length:
        return None
    first = start + len(piece) - len(piece.lstrip())
    return Span(first, first + length)


def paragraphs(text: str, start: int, end: int) -> list[Block]:
    """Return one paragraph for each run of lines of `text[start:end]` without a blank line."""
    blocks: list[Block] = []
    position = start
    for gap in _BLANK_LINES.finditer(text, start, end):
        blocks += _paragraph(text, position, gap.start())
        position = gap.end()
    return blocks + _paragraph(text, position, end)


def paragraph_blocks(text: str) -> Iterator[TextBlock]:
    """Yield one paragraph for each run of lines of `text` without a blank line."""
    for block in paragraphs(text, 0, len(text)):
        yield TextBlock(BlockKind.PARAGRAPH, text[block.span.start : block.span.end])


def one_line(text: str) -> str:
    """Return `text` normalised, on one line, with single spaces."""
    return " ".join(normalize(text).split())


def _paragraph(text: str, start: int, end: int) -> list[Block]:
    span = trimmed(text, start, end)
    return [Block(BlockKind.PARAGRAPH, span)] if span else []
