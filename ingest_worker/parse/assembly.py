"""From a format's blocks to a `ParsedDocument`: either the blocks make the text, or they point into it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.normalize import normalize
from rag_server.domain.document import Block, BlockKind, ParsedDocument, Span
from rag_server.domain.page_boxes import Edges, TextPlaces

_BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A line of a block that stands somewhere on its page."""

    start: int
    """In the text of its block, in code points; lines are in order and do not overlap."""
    end: int
    boxes: tuple[Edges, ...]


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A block that still carries its own text."""

    kind: BlockKind
    text: str
    level: int = 0
    page: int | None = None
    lines: tuple[PlacedLine, ...] = ()
    """Of a block with a page, those whose place is known."""


def assemble(
    blocks: Iterable[TextBlock],
    *,
    title: str = "",
    language: str = "",
    page_count: int | None = None,
    has_places: bool = False,
) -> ParsedDocument:
    """Join `blocks` with a blank line between them; empty ones are left out.

    With `has_places` the document says where its lines stand.

    Raises `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) at the block that makes it too much text: a format whose
    text is longer than its bytes yields its blocks one by one.
    """
    pieces: list[str] = []
    placed: list[Block] = []
    places = TextPlaces() if has_places else None
    position = 0
    for block in blocks:
        text = normalize(block.text).strip()
        if not text:
            continue
        placed.append(Block(block.kind, Span(position, position + len(text)), block.level, block.page))
        if places is not None and block.page is not None:
            for start, end, boxes in _normalized_lines(block, text):
                for edges in boxes:
                    places.add(position + start, position + end, block.page, edges)
        pieces.append(text)
        position += len(text) + 2
        require_characters(position - 2)
    return ParsedDocument(
        "\n\n".join(pieces), tuple(placed), one_line(title), language, page_count, places=places
    )


def _normalized_lines(block: TextBlock, text: str) -> Iterator[tuple[int, int, tuple[Edges, ...]]]:
    """Yield where the lines of `block` begin and end in `text`, its text normalised, and their boxes."""
    is_same = text == block.text
    before, after = 0, 0  # the same place before and after the normalisation
    for line in block.lines:
        start, end = line.start, line.end
        if not is_same:  # piece by piece, each once: a block may have a hundred thousand lines
            start = _advanced(after, block.text[before:start])
            end = _advanced(start, block.text[line.start : line.end])
            before, after = line.end, end
        start, end = min(start, len(text)), min(end, len(text))
        if start < end:
            yield start, end, line.boxes


def _advanced(position: int, piece: str) -> int:
    """Return where `piece`, normalised, ends that begins at `position`; at the start goes no white space."""
    text = normalize(piece)
    return position + len(text if position else text.lstrip())


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
