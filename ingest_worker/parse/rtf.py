"""RTF 1.9: paragraphs, headings, lists and tables (striprtf). Headers, footers and notes are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from striprtf.striprtf import rtf_to_text

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.markdown_table import table_blocks
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_CELL, _ROW, _ROW_START, _ITEM = "\ue000", "\ue001", "\ue002", "\ue003"
_OUTLINE = "\ue010"
"""The first of nine marks in the private use area, which stand for control words that the library drops."""
_OUTLINE_LEVELS = 9
_MARKS = {
    "cell": _CELL,
    "nestcell": " ",
    "row": _ROW,
    "trowd": _ROW_START,
    "listtext": _ITEM,
}
_CONTROL = re.compile(r"\\(nestcell|cell|row|trowd|listtext|outlinelevel([0-8]))(?![a-zA-Z0-9]) ?")
_OUTLINE_MARK = re.compile(f"[{_OUTLINE}-{chr(ord(_OUTLINE) + _OUTLINE_LEVELS - 1)}]")
_ALL_MARKS = re.compile("[\ue000-\ue01f]")
_HYPERLINK = re.compile(r"(\\fldinst)\{", re.IGNORECASE)
_CODE_PAGE = re.compile(rb"\\ansicpg(\d{3,5})")
_TITLE = re.compile(r"\{\\info\b[^{}]*(?:\{[^{}]*\}[^{}]*)*?\{\\title ([^{}]{0,1000})\}")
_ITEM_LABEL = re.compile(r"(\d{1,3}|[A-Za-z]|[ivxlIVXL]{1,6})[.)]")
_HEAD_CHARACTERS = 8_192
"""Where the properties of a document stand."""
_MAX_LEVEL = 6


class RtfParser:
    """Parser of RTF."""

    media_types = frozenset({MediaType.RTF})

    def parse(self, data: bytes) -> ParsedDocument:
        start = data.find(b"{\\rtf")
        if start < 0 or data[:start].strip(b"\xef\xbb\xbf \t\r\n"):
            raise faults.corrupt("is no RTF: it does not start with its signature")
        if not data.rstrip(b"\x00 \t\r\n").endswith(b"}"):
            raise faults.corrupt("is an RTF document whose end is missing: truncated")
        page = _CODE_PAGE.search(data, 0, 4096)
        encoding = f"cp{page[1].decode()}" if page else "cp1252"
        source = _decoded(data[start:], encoding)
        blocks = list(_blocks(_text(_marked(source), encoding)))
        if not blocks:
            raise faults.has_no_text("it holds no text; pictures of text need OCR first")
        named = _TITLE.search(source, 0, _HEAD_CHARACTERS)
        title = _text("{\\rtf1 " + named[1] + "}", encoding) if named else ""
        return assemble(
            blocks, title=title or next((b.text for b in blocks if b.kind is BlockKind.HEADING), "")
        )


def _marked(source: str) -> str:
    """Return `source` with a character of the private use area for each control word that says structure."""

    def mark(word: re.Match[str]) -> str:
        sign = chr(ord(_OUTLINE) + int(word[2])) if word[2] else _MARKS[word[1]]
        # An empty group after it, since a reader skips the character that follows `\\u` as its substitute.
        return f"{word[0].rstrip()}\\u{ord(sign)}{{}}" if word[1] != "nestcell" else " "

    # The library looks for addresses of links by an expression that backtracks over whole documents.
    return _CONTROL.sub(mark, _HYPERLINK.sub(r"\1 {", _ALL_MARKS.sub("", source)))


def _text(source: str, encoding: str) -> str:
    try:
        text = str(rtf_to_text(source, encoding=encoding, errors="replace"))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise faults.corrupt("is RTF with control words that cannot be read: damaged") from error
    require_characters(len(text))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _decoded(data: bytes, encoding: str) -> str:
    """Return the source: ASCII by the standard, in the declared code page by some programs."""
    try:
        return data.decode(encoding, "replace")
    except LookupError:
        return data.decode("cp1252", "replace")


def _blocks(text: str) -> Iterator[TextBlock]:
    """Yield the blocks of a text with marks: tables from the first start of a row to the last end of one."""
    position = 0
    rows: list[list[str]] = []
    while (start := text.find(_ROW_START, position)) >= 0:
        end = text.find(_ROW, start)
        if end < 0:
            break
        between = text[position:start]
        if rows and _ALL_MARKS.sub("", between).strip():
            yield from table_blocks(rows)
            rows = []
        yield from _prose(between)
        # A cell ends with its mark and the bar that the library writes for it.
        cells = text[start:end].split(_CELL)[:-1]
        rows.append([_ALL_MARKS.sub("", cell).removesuffix("|") for cell in cells])
        position = end + 1
    yield from table_blocks(rows)
    yield from _prose(text[position:])


def _prose(text: str) -> Iterator[TextBlock]:
    """Yield a block for each paragraph; items of lists in a row are one block."""
    items: list[str] = []
    for line in text.split("\n"):
        said = _ALL_MARKS.sub("", line).strip()
        if not said:
            continue
        if _ITEM in line:
            items.append(_item(said))
            continue
        if items:
            yield TextBlock(BlockKind.LIST, "\n".join(items))
            items = []
        outline = _OUTLINE_MARK.search(line)
        if outline:
            level = min(ord(outline[0]) - ord(_OUTLINE) + 1, _MAX_LEVEL)
            yield TextBlock(BlockKind.HEADING, " ".join(said.split()), level)
        else:
            yield TextBlock(BlockKind.PARAGRAPH, said)
    if items:
        yield TextBlock(BlockKind.LIST, "\n".join(items))


def _item(said: str) -> str:
    """Return an item with its number, or with a dash for its bullet."""
    label, _, rest = said.partition("\t")
    if not rest:
        return f"- {said}"
    return f"{label} {rest.strip()}" if _ITEM_LABEL.fullmatch(label) else f"- {rest.strip()}"
