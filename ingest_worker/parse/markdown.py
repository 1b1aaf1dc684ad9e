"""Markdown: blocks by CommonMark with tables (markdown-it-py), spans into the source itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import one_line, paragraphs, trimmed
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.normalize import normalize
from rag_server.domain.document import Block, BlockKind, MediaType, ParsedDocument, Span

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_MATTER_FIELD = re.compile(
    r"^(title|lang|language)[ \t]*:[ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE
)
_FRONT_MATTER_KEY = re.compile(r"^[\w-]+[ \t]*:", re.MULTILINE)
_FRONT_MATTER_CHARACTERS = 65_536
"""Front matter that is not closed within so many is text."""
_HEADING_CHARACTERS = 2_000
"""What a heading says is taken from so many at its start; its whole text stays in the document."""
_PART_CHARACTERS = 262_144
"""Parsed at a time, at least: the parser's tokens take over 1 kB for each line of a word."""
_PART_MARK = re.compile(r"^ {0,3}(?P<fence>`{3,}(?![^\n]*`)|~{3,})|\n[ \t]*\n(?=[^\W\d_]|#)", re.MULTILINE)
"""A code fence, or the gap before a line that ends all blocks above it but code in fences."""
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*\Z")
_KINDS = {
    "heading_open": BlockKind.HEADING,
    "bullet_list_open": BlockKind.LIST,
    "ordered_list_open": BlockKind.LIST,
    "fence": BlockKind.CODE,
    "code_block": BlockKind.CODE,
    "table_open": BlockKind.TABLE,
}


class MarkdownParser:
    """Parser of `text/markdown`. The text keeps its marks: they carry meaning (code, tables, links)."""

    media_types = frozenset({MediaType.MARKDOWN})

    def parse(self, data: bytes) -> ParsedDocument:
        source = normalize(decode_text(data))
        fields: dict[str, str] = {}
        front_matter = _FRONT_MATTER.match(source, 0, _FRONT_MATTER_CHARACTERS)
        if front_matter and _FRONT_MATTER_KEY.search(front_matter[1]):
            fields = {
                key.lower(): _unquoted(value) for key, value in _FRONT_MATTER_FIELD.findall(front_matter[1])
            }
            source = source[front_matter.end() :]
        text = source.rstrip()
        if not text:
            raise faults.has_no_text("it holds front matter only")
        blocks = tuple(markdown_blocks(text))
        language = fields.get("lang") or fields.get("language", "")
        return ParsedDocument(
            text,
            blocks,
            title=one_line(fields.get("title", "")) or _first_heading(text, blocks),
            language=language if _LANGUAGE.match(language) else "",
        )


def heading_text(source: str) -> str:
    """Return what a heading says, given its source: without marks, underline and link targets."""
    source = source.strip()[:_HEADING_CHARACTERS]
    lines = source.split("\n")
    marked = re.match(r"#{1,6}(?:[ \t]+|$)", lines[0])
    if marked and len(lines) == 1:
        said = re.sub(r"(?:^|[ \t]+)#+[ \t]*$", "", lines[0][marked.end() :])
    elif len(lines) > 1 and re.fullmatch(r"[ \t]*(?:=+|-+)[ \t]*", lines[-1]):
        said = " ".join(lines[:-1])
    else:
        return one_line(source)
    said = re.sub(r"!?\[([^\[\]]*)\]\([^()]*\)", r"\1", said)
    return one_line(re.sub(r"\*\*|__|`", "", said))


def markdown_blocks(text: str) -> Iterator[Block]:
    """Yield the top-level blocks; lines that belong to none (link definitions) become paragraphs."""
    for start, end in _parts(text):
        for block in _blocks_of_part(text[start:end]):
            span = Span(block.span.start + start, block.span.end + start)
            yield replace(block, span=span) if start else block


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Yield the ranges that `text` is made of; no block but raw HTML goes on from one to the next."""
    start, is_fenced = 0, False
    for mark in _PART_MARK.finditer(text):
        if mark["fence"]:
            is_fenced = not is_fenced
        elif not is_fenced and mark.end() - start >= _PART_CHARACTERS:
            yield start, mark.end()
            start = mark.end()
    yield start, len(text)


def _blocks_of_part(text: str) -> Iterator[Block]:
    starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.disable("inline")  # only the block structure is needed
    done = 0
    for token in parser.parse(text):
        if token.level or token.map is None:
            continue
        start, end = (min(starts[line], len(text)) for line in token.map)
        yield from paragraphs(text, done, start)
        span = trimmed(text, max(start, done), end)
        if span:
            yield Block(_KINDS.get(token.type, BlockKind.PARAGRAPH), span, _level(token))
            done = span.end
    yield from paragraphs(text, done, len(text))


def _level(token: Token) -> int:
    return int(token.tag[1]) if token.type == "heading_open" else 0


def _first_heading(text: str, blocks: tuple[Block, ...]) -> str:
    for block in blocks:
        if block.kind is BlockKind.HEADING:
            return heading_text(text[block.span.start : block.span.end])
    return ""


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
