"""Org (orgmode.org/worg/org-syntax.html): headings, lists, tables, source blocks and the file's keywords."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.language import declared_language
from ingest_worker.parse.markdown_table import table_blocks
from ingest_worker.parse.normalize import normalize
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_HEADING = re.compile(r"(\*+)[ \t]+(.*)")
_HEADING_STATE = re.compile(
    r"(?:(?:TODO|DONE|NEXT|WAITING|CANCELL?ED|COMMENT)(?=[ \t]|$)[ \t]*)?(?:\[#\w\][ \t]*)?"
)
_TAGS = re.compile(r":[\w@#%:]+:\Z")
_KEYWORD = re.compile(r"[ \t]*#\+([\w-]+):[ \t]*(.*)", re.IGNORECASE)
_BEGIN = re.compile(r"[ \t]*#\+begin_(\S+)", re.IGNORECASE)
_END = re.compile(r"[ \t]*#\+end_(\S+)", re.IGNORECASE)
_COMMENT = re.compile(r"[ \t]*#(?: |$)")
_DRAWER = re.compile(r"[ \t]*:[\w-]+:[ \t]*\Z")
_DRAWER_END = re.compile(r"[ \t]*:END:[ \t]*\Z", re.IGNORECASE)
_FIXED = re.compile(r"[ \t]*:(?: |$)")
_ITEM = re.compile(r"[ \t]*(?:[-+]|\d{1,9}[.)]|(?<=[ \t])\*)[ \t]+")
_TABLE_RULE = re.compile(r"[ \t]*\|[-+|]*\Z")
_LINK = re.compile(r"\[\[([^\[\]\n]{1,1000})\](?:\[([^\[\]\n]{1,1000})\])?\]")
_SHOWN_KEYWORDS = {"subtitle", "author", "date", "description", "keywords", "filetags"}
_VERBATIM = {"src", "example", "export", "latex", "html"}
_MAX_LEVEL = 6


class OrgParser:
    """Parser of `text/x-org`. Drawers, comments and settings are no text; nothing is included."""

    media_types = frozenset({MediaType.ORG})

    def parse(self, data: bytes) -> ParsedDocument:
        lines = normalize(decode_text(data)).split("\n")
        reader = _Reader(lines)
        blocks = list(reader.blocks())
        if reader.shown:
            blocks.insert(0, TextBlock(BlockKind.PARAGRAPH, "\n".join(reader.shown)))
        if not blocks:
            raise faults.has_no_text("it holds settings, drawers or comments only")
        first = next((block.text for block in blocks if block.kind is BlockKind.HEADING), "")
        title = " ".join(reader.title) or first
        return assemble(blocks, title=title, language=declared_language(reader.language))


@dataclass(slots=True)
class _Reader:
    """One pass over the lines; each is looked at a bounded number of times."""

    lines: list[str]
    title: list[str] = field(default_factory=list)
    language: str = ""
    shown: list[str] = field(default_factory=list)
    """Keywords of the file that a reader of its export sees."""
    _position: int = 0

    def blocks(self) -> Iterator[TextBlock]:
        """Yield the blocks in order; the keywords are complete after the last."""
        ends = self._ends()
        while self._position < len(self.lines):
            line = self.lines[self._position]
            heading = _HEADING.match(line)
            begin = _BEGIN.match(line)
            self._position += 1
            if heading:
                yield TextBlock(
                    BlockKind.HEADING, _heading_text(heading[2]), min(len(heading[1]), _MAX_LEVEL)
                )
            elif begin and (end := ends.get(("block", begin[1].lower(), self._position - 1))) is not None:
                yield from self._begun(begin[1].lower(), end)
            elif _DRAWER.match(line) and (end := ends.get(("drawer", "", self._position - 1))) is not None:
                self._position = end + 1
            elif keyword := _KEYWORD.match(line):
                yield from self._keyword(keyword[1].lower(), _without_links(keyword[2].strip()))
            elif line.strip() and not _COMMENT.match(line) and not begin and not _END.match(line):
                self._position -= 1
                yield from self._run()

    def _ends(self) -> dict[tuple[str, str, int], int]:
        """Return where each block and drawer that is closed ends, by its kind, name and first line."""
        ends: dict[tuple[str, str, int], int] = {}
        open_blocks: dict[str, int] = {}
        open_drawer: int | None = None
        for number, line in enumerate(self.lines):
            if begin := _BEGIN.match(line):
                open_blocks.setdefault(begin[1].lower(), number)
            elif end := _END.match(line):
                start = open_blocks.pop(end[1].lower(), None)
                if start is not None:
                    ends["block", end[1].lower(), start] = number
            elif _DRAWER_END.match(line):
                if open_drawer is not None:
                    ends["drawer", "", open_drawer] = number
                open_drawer = None
            elif _DRAWER.match(line):
                open_drawer = number
            elif _HEADING.match(line):
                open_blocks.clear()
                open_drawer = None
        return ends

    def _begun(self, name: str, end: int) -> Iterator[TextBlock]:
        """Yield the content of a block; quotes and verses are read like the text around them."""
        if name in _VERBATIM:
            content = self.lines[self._position : end]
            yield TextBlock(BlockKind.CODE, _dedented(content))
            self._position = end + 1
        elif name == "comment":
            self._position = end + 1
        # Else its lines follow, and the line that ends it says nothing.

    def _keyword(self, name: str, value: str) -> Iterator[TextBlock]:
        if name == "title":
            self.title.append(value)
        elif name == "language":
            self.language = value
        elif name in _SHOWN_KEYWORDS and value:
            self.shown.append(f"{name.capitalize()}: {value}")
        elif name == "caption":
            yield TextBlock(BlockKind.PARAGRAPH, value)

    def _run(self) -> Iterator[TextBlock]:
        """Yield the table, the fixed-width text, the list or the paragraph that begins here."""
        line = self.lines[self._position]
        if line.lstrip().startswith("|"):
            rows = [
                [_without_links(cell.strip()) for cell in row.strip().strip("|").split("|")]
                for row in self._take(lambda row: row.lstrip().startswith("|"))
                if not _TABLE_RULE.match(row)
            ]
            yield from table_blocks(rows)
        elif _FIXED.match(line):
            fixed = self._take(lambda row: bool(_FIXED.match(row)))
            yield TextBlock(BlockKind.CODE, "\n".join(row.lstrip()[2:] for row in fixed))
        elif _ITEM.match(line):
            items = self._take(
                lambda row: bool(_ITEM.match(row)) or (row[:1] in {" ", "\t"} and not _ends_run(row))
            )
            yield TextBlock(BlockKind.LIST, _without_links(_dedented(items)))
        else:
            taken = self._take(lambda row: not _ends_run(row) and not _ITEM.match(row))
            text = "\n".join(row.strip() for row in taken)
            yield TextBlock(BlockKind.PARAGRAPH, _without_links(text))

    def _take(self, belongs: Callable[[str], bool]) -> list[str]:
        """Return the line at hand and those after it that belong to it."""
        start = self._position
        self._position += 1
        while self._position < len(self.lines) and belongs(self.lines[self._position]):
            self._position += 1
        return self.lines[start : self._position]


def _ends_run(line: str) -> bool:
    """Whether `line` is none of the lines of a paragraph."""
    return (
        not line.strip()
        or line.lstrip().startswith(("|", "#+"))
        or bool(_HEADING.match(line) or _COMMENT.match(line) or _FIXED.match(line) or _DRAWER.match(line))
    )


def _heading_text(source: str) -> str:
    """Return what a heading says, without its state, priority and tags."""
    words = _HEADING_STATE.sub("", source, count=1).split()
    if words and _TAGS.match(words[-1]):
        words.pop()
    return _without_links(" ".join(words))


def _without_links(text: str) -> str:
    """Replace links by what a reader sees of them: their description, else their target."""
    return _LINK.sub(lambda link: link[2] or link[1], text)


def _dedented(lines: list[str]) -> str:
    return textwrap.dedent("\n".join(lines)).strip("\n")
