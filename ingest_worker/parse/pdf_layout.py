"""From lines on pages to blocks: gaps and indents part paragraphs, larger type makes headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ingest_worker.parse.assembly import PlacedLine, TextBlock
from rag_server.domain.document import BlockKind
from rag_server.domain.page_boxes import Edges

_LINE_END_HYPHEN = re.compile("[\x02\ufffe]\\s*")
"""What PDFium writes for a hyphen at the end of a line, having joined the next line to it."""
_HYPHENATED = re.compile(r"[^\W\d_][-\u2010\u00ad]$")
_SENTENCE_END = re.compile(r"[.!?:;…]['\"”’»)\]]*$")
_PARAGRAPH_GAP = 1.3
"""A step to the next line of more than this many usual steps starts a paragraph."""
_HEADING_SIZE = 1.15
"""Type of at least this many times the body's size makes a heading."""
_HEADING_CHARACTERS = 200
_INDENT_EMS = 0.8
_MAX_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Bookmark:
    """An entry of a document's outline."""

    title: str
    level: int
    """1 for the outermost."""
    page: int
    """0-based."""
    top: float | None
    """Where it points to, in points from the page's lower edge; None for the page as a whole."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text on a page; positions in points from the page's lower left corner."""

    text: str
    font_size: float
    left: float
    first_baseline: float
    last_baseline: float
    """Differs from the first where the line goes on after a hyphen."""
    bookmark: Bookmark | None = None
    """The entry of the document's outline whose heading this line is, or is a part of."""
    boxes: tuple[Edges, ...] = ()
    """Where it stands on its page as a reader sees it; empty where nobody asked, or where it is not seen."""


def blocks_of(pages: Sequence[Sequence[Line]]) -> list[TextBlock]:
    """Return the paragraphs and headings of all pages in order; page numbers start at 1."""
    lines = [line for page in pages for line in page]
    if not lines:
        return []
    body_size = _body_size(lines)
    step = _usual_step(pages, body_size)
    paragraphs = [
        (number, paragraph)
        for number, page in enumerate(pages, start=1)
        for paragraph in _paragraphs(page, step)
    ]
    by_size = [p[0].font_size for _, p in paragraphs if not p[0].bookmark and _is_heading(p, body_size)]
    levels = {size: rank for rank, size in enumerate(sorted(set(by_size), reverse=True), start=1)}
    outline_level = 0
    blocks: list[TextBlock] = []
    for number, paragraph in paragraphs:
        first = paragraph[0]
        if first.bookmark:
            outline_level = first.bookmark.level
            level = outline_level
        elif _is_heading(paragraph, body_size):
            level = outline_level + levels[first.font_size]  # the outline does not know it: it is a part
        else:
            blocks.append(_block(BlockKind.PARAGRAPH, paragraph, 0, number))
            continue
        blocks.append(_block(BlockKind.HEADING, paragraph, min(level, _MAX_LEVEL), number))
    return blocks


def _block(kind: BlockKind, lines: Sequence[Line], level: int, page: int) -> TextBlock:
    text, starts = _joined(lines)
    placed = tuple(
        PlacedLine(start, end, line.boxes)
        for line, start, end in zip(lines, starts, (*starts[1:], len(text)), strict=True)
        if line.boxes
    )
    return TextBlock(kind, text, level, page, placed)


def join_lines(lines: Sequence[Line]) -> str:
    """Return the text of `lines` on one line; a word that a hyphen parts at a line's end is whole again."""
    return _joined(lines)[0]


def _joined(lines: Sequence[Line]) -> tuple[str, list[int]]:
    """Return what `join_lines` returns, and where in it each line begins."""
    said = ""
    starts: list[int] = []
    for line in lines:
        text = " ".join(_rejoined(line.text).split())
        if _HYPHENATED.search(said[-2:]) and text[:1].islower():
            said = said[:-1]
        elif said:
            said += " "
        starts.append(len(said))
        said += text
    return said, starts


def _rejoined(text: str) -> str:
    """Resolve PDFium's own marks: the hyphen goes where a word goes on in lower case, and stays elsewhere."""
    joined = ""
    pieces = _LINE_END_HYPHEN.split(text)
    for piece in pieces:
        joined += piece if not joined or piece[:1].islower() else f"-{piece}"
    return joined


def _paragraphs(page: Sequence[Line], step: float) -> list[list[Line]]:
    paragraphs: list[list[Line]] = []
    for line in page:
        if paragraphs and not _starts_paragraph(paragraphs[-1], line, step):
            paragraphs[-1].append(line)
        else:
            paragraphs.append([line])
    return paragraphs


def _starts_paragraph(paragraph: Sequence[Line], line: Line, step: float) -> bool:
    previous = paragraph[-1]
    if previous.bookmark or line.bookmark:
        return previous.bookmark is not line.bookmark
    if abs(line.font_size - previous.font_size) > 0.1 * previous.font_size:
        return True
    drop = previous.last_baseline - line.first_baseline
    is_complete = bool(_SENTENCE_END.search(previous.text.rstrip()))
    if drop < -step:  # the top of another column: a paragraph may go on there
        return is_complete
    if drop > _PARAGRAPH_GAP * max(step, line.font_size):
        return True
    return is_complete and line.left - previous.left > _INDENT_EMS * line.font_size


def _is_heading(paragraph: Sequence[Line], body_size: float) -> bool:
    is_large = all(line.font_size >= _HEADING_SIZE * body_size for line in paragraph)
    text = paragraph[-1].text.rstrip()
    return (
        is_large
        and sum(len(line.text) for line in paragraph) <= _HEADING_CHARACTERS
        and not text.endswith((".", ","))
    )


def _body_size(lines: Sequence[Line]) -> float:
    """Return the font size of most characters; the smaller one of two that tie."""
    characters: Counter[float] = Counter()
    for line in lines:
        characters[line.font_size] += len(line.text)
    return max(characters, key=lambda size: (characters[size], -size))


def _usual_step(pages: Sequence[Sequence[Line]], body_size: float) -> float:
    """Return the usual distance from one line of the body to the next, in points."""
    steps = [
        above.last_baseline - below.first_baseline
        for page in pages
        for above, below in pairwise(page)
        if above.font_size == below.font_size == body_size
        and 0 < above.last_baseline - below.first_baseline < 2.5 * body_size
    ]
    return min(median(steps), 1.6 * body_size) if steps else 1.2 * body_size
