"""DOC (Word 97 to 2003, [MS-DOC]): headings, paragraphs, tables, footnotes, endnotes and text boxes.

Headers, footers and comments are left out. Of a field its result is kept, not its instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.compound_file import CompoundFile
from ingest_worker.parse.doc_paragraphs import Paragraph, Paragraphs
from ingest_worker.parse.doc_pieces import Part, Pieces, damaged, file_information, section
from ingest_worker.parse.limits import require_parts
from ingest_worker.parse.markdown_table import table_blocks
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_END = re.compile("[\x07\x0c\x0d]")
"""Marks that end a cell or row, a page or section, and a paragraph."""
_MAX_PARAGRAPHS = 2_000_000
_CELL = "\x07"
_FIELD_BEGIN, _FIELD_RESULT, _FIELD_END = "\x13", "\x14", "\x15"
_FIELD_MARK = re.compile("[\x13-\x15]")
_MAX_FIELD_DEPTH = 100
_CHARACTERS = {
    0x0B: "\n",  # a line break
    0x0E: "\n",  # a column break
    0x1E: "-",  # a hyphen at which no line ends
    **dict.fromkeys((*range(9), *range(0x0F, 0x1E), 0x1F), ""),  # pictures, references, soft hyphens
    **dict.fromkeys(range(0xF000, 0xF100), ""),  # where symbol fonts put their characters
    0xF0B7: "•",
    0xF0A7: "•",
    0xF0E0: "→",
}


class DocParser:
    """Parser of DOC."""

    media_types = frozenset({MediaType.DOC})

    def parse(self, data: bytes) -> ParsedDocument:
        with CompoundFile(data) as file:
            word = file.stream("WordDocument")
            if word is None:
                raise damaged()
            information = file_information(word)
            table = file.stream(information.table_stream)
        if table is None:
            raise damaged()
        pieces = Pieces(word, table, information)
        require_parts(sum(map(pieces.text.count, "\x07\x0c\x0d")), _MAX_PARAGRAPHS, "paragraphs and cells")
        paragraphs = Paragraphs(word, section(table, information.paragraphs))
        blocks: list[TextBlock] = []
        for part in (information.main, information.footnotes, information.endnotes, information.text_boxes):
            blocks += _blocks(_said(pieces, paragraphs, part))
        if not blocks:
            raise faults.has_no_text("it holds no text; pictures of text need OCR first")
        return assemble(
            blocks, title=next((b.text for b in blocks if b.kind is BlockKind.HEADING and b.text.strip()), "")
        )


def _said(pieces: Pieces, paragraphs: Paragraphs, part: Part) -> Iterator[tuple[str, str, Paragraph]]:
    """Yield text, end mark and properties of each paragraph and cell of a part."""
    fields = _Fields()
    position = part.start
    end = min(part.end, len(pieces.text))
    while position < end:
        mark = _END.search(pieces.text, position, end)
        stop = mark.start() if mark else end
        shown = fields.shown(pieces.text[position:stop])
        properties = paragraphs.at(pieces.place(min(stop, end - 1)))
        yield _clean(shown), mark[0] if mark else "", properties
        position = stop + 1


def _blocks(said: Iterator[tuple[str, str, Paragraph]]) -> Iterator[TextBlock]:
    """Yield the blocks; rows that follow each other are one table."""
    rows: list[list[str]] = []
    row: list[str] = []
    cell: list[str] = []
    for text, mark, properties in said:
        if mark == _CELL:
            if properties.is_row_end:
                rows.append(row)
                row = []
            else:
                row.append("\n".join([*cell, text]))
                cell = []
        elif properties.is_in_table:
            cell.append(text)  # a paragraph within a cell
        else:
            yield from _table(rows, row, cell)
            rows, row, cell = [], [], []
            if text.strip() and properties.level:
                yield TextBlock(BlockKind.HEADING, " ".join(text.split()), properties.level)
            elif text.strip():
                yield TextBlock(BlockKind.PARAGRAPH, text)
    yield from _table(rows, row, cell)


def _table(rows: list[list[str]], row: list[str], cell: list[str]) -> Iterator[TextBlock]:
    """Yield a table, with a last row that its end mark is missing of."""
    left = [*row, *(["\n".join(cell)] if cell else [])]
    if rows or left:
        yield from table_blocks([*rows, left])


class _Fields:
    """Tells what of a text is shown: a field, which may hold others, has an instruction before its result."""

    def __init__(self) -> None:
        self._in_result: list[bool] = []
        """Of each field that is open here, the innermost last, whether its result has begun."""
        self._hidden = 0
        """How many of these are at their instruction."""

    def shown(self, text: str) -> str:
        """Return what is shown of `text`, which goes on where the last one ended."""
        kept: list[str] = []
        position = 0
        for mark in _FIELD_MARK.finditer(text):
            if not self._hidden:
                kept.append(text[position : mark.start()])
            self._pass(mark[0])
            position = mark.end()
        if not self._hidden:
            kept.append(text[position:])
        return "".join(kept)

    def _pass(self, mark: str) -> None:
        if mark == _FIELD_BEGIN:
            if len(self._in_result) == _MAX_FIELD_DEPTH:
                raise faults.corrupt("nests its fields too deeply")
            self._in_result.append(False)
            self._hidden += 1
        elif not self._in_result:
            return  # the end of a field that begins nowhere
        elif mark == _FIELD_RESULT:
            self._hidden -= not self._in_result[-1]
            self._in_result[-1] = True
        elif mark == _FIELD_END:
            self._hidden -= not self._in_result.pop()


def _clean(text: str) -> str:
    """Return `text` as it reads: characters in two halves as one, no signs of pictures and references."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.translate(_CHARACTERS)
