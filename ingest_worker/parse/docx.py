"""DOCX: paragraphs, headings, lists and tables of WordprocessingML in the order of the body.

The XML is read directly: python-docx loads every part and picture into memory, and shows neither text boxes,
content controls and footnotes nor what tracked changes have inserted.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.docx_styles import Item, Numbering, Styles, W
from ingest_worker.parse.docx_text import MC, ParagraphText
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.markdown_table import table_blocks
from ingest_worker.parse.ooxml import OoxmlPackage
from ingest_worker.parse.xml_tree import integer
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_MAX_SPAN = 100
"""Columns that one cell may cover."""
_CELL_CHARACTERS = 3
"""What a cell adds to a row besides its text."""
_DELETED = {f"{W}del", f"{W}moveFrom"}
_SKIPPED = {*_DELETED, f"{MC}Fallback", f"{W}sdtPr", f"{W}sdtEndPr", f"{W}sectPr", f"{W}pPr", f"{W}tblPr"}


class DocxParser:
    """Parser of DOCX. Headers, footers and comments are left out, tracked insertions kept."""

    media_types = frozenset({MediaType.DOCX})

    def parse(self, data: bytes) -> ParsedDocument:
        package = OoxmlPackage(data)
        main = package.main_part()
        root = package.part(main)
        body = None if root is None else root.find(f"{W}body")
        if body is None:
            raise faults.corrupt("is no word-processing document: its main part has no body")
        try:
            walk = _Walk(package, main)
            blocks = list(_joined_lists(walk.blocks(body)))
        except RecursionError as error:
            raise faults.corrupt("nests its elements too deeply") from error
        if not blocks:
            raise faults.has_no_text("its body holds no text; pictures of text need OCR first")
        first = next((block.text for block in blocks if block.kind is BlockKind.HEADING), "")
        return assemble(blocks, title=package.title() or walk.title or first)


class _Walk:
    """One pass over the story of a document."""

    def __init__(self, package: OoxmlPackage, main: str) -> None:
        self.title = ""
        self._styles = Styles(_first_part(package, main, "styles"))
        self._numbering = Numbering(_first_part(package, main, "numbering"))
        self._text = ParagraphText()
        self._notes: dict[tuple[str, str], etree._Element] = {}
        for kind in ("footnote", "endnote"):
            notes = _first_part(package, main, f"{kind}s")
            for note in [] if notes is None else notes.iterfind(f"{W}{kind}"):
                self._notes[kind, note.get(f"{W}id") or ""] = note
        self._characters = 0

    def blocks(self, container: etree._Element) -> Iterator[TextBlock]:
        """Yield the blocks under `container`; each item of a list is a block of its own."""
        for child in container:
            if child.tag == f"{W}p":
                yield from self._paragraph(child)
            elif child.tag == f"{W}tbl":
                yield from self._table(child)
            elif child.tag not in _SKIPPED:
                yield from self.blocks(child)

    def _paragraph(self, paragraph: etree._Element) -> Iterator[TextBlock]:
        properties = paragraph.find(f"{W}pPr")
        text = self._read(paragraph)
        boxes, self._text.boxes = self._text.boxes, []
        notes, self._text.notes = self._text.notes, []
        if text:
            yield self._styled(text, properties)
        for box in boxes:
            yield from self.blocks(box)
        number = self._text.note_count - len(notes)
        for key in notes:
            number += 1
            said = self._note(self._notes.pop(key, None))  # once, or a million references unpack to a bomb
            if said:
                yield TextBlock(BlockKind.PARAGRAPH, f"[{number}] {said}")

    def _styled(self, text: str, properties: etree._Element | None) -> TextBlock:
        level = self._styles.heading_level(properties)
        numbered = self._styles.numbering(properties)
        item = self._numbering.next_item(*numbered) if numbered else None
        if level:
            said = " ".join(text.split())
            if not self.title and self._styles.is_title(properties):
                self.title = said
            return TextBlock(
                BlockKind.HEADING, f"{item.label} {said}" if item and item.label else said, level
            )
        if item:
            return TextBlock(BlockKind.LIST, _list_line(text, item))
        return TextBlock(BlockKind.PARAGRAPH, text)

    def _note(self, note: etree._Element | None) -> str:
        """Return the text of a foot- or endnote on one line. Notes within it are not followed."""
        if note is None:
            return ""
        said = [self._read(paragraph) for paragraph in note.iter(f"{W}p")]
        self._text.notes.clear()
        self._text.boxes.clear()
        return " ".join(" ".join(said).split())

    def _table(self, table: etree._Element) -> Iterator[TextBlock]:
        cells = [cell for row in _rows(table) for cell in _children(row, f"{W}tc")]
        if len(cells) == 1:  # a frame around a part of the story
            yield from self.blocks(cells[0])
            return
        above: dict[int, str] = {}  # of each column: the text that vertically merged cells below it repeat
        yield from table_blocks([self._row(row, above) for row in _rows(table)])

    def _row(self, row: etree._Element, above: dict[int, str]) -> list[str]:
        """Return the texts of a row; one over several columns stands in each, unless it is all of the row."""
        skipped = _span(row.find(f"{W}trPr/{W}gridBefore"), 0)
        texts = [""] * skipped
        cells = list(_children(row, f"{W}tc"))
        for cell in cells:
            properties = cell.find(f"{W}tcPr")
            merge = None if properties is None else properties.find(f"{W}vMerge")
            column = len(texts)
            if merge is not None and merge.get(f"{W}val") != "restart":
                text = above.get(column, "")
                self._spend(len(text))
            else:
                text = self._cell(cell)
                above[column] = text if merge is not None else ""
            width = _span(None if properties is None else properties.find(f"{W}gridSpan"), 1)
            repeated = text if len(cells) > 1 else ""
            self._spend((len(repeated) + _CELL_CHARACTERS) * width)
            texts += [text, *[repeated] * (width - 1)]
        return texts

    def _cell(self, cell: etree._Element) -> str:
        """Return all that a cell says on one line; a table in it becomes `a, b; c, d`."""
        return " ".join(" ".join(self._cell_pieces(cell)).split())

    def _cell_pieces(self, container: etree._Element) -> Iterator[str]:
        for child in container:
            if child.tag == f"{W}tbl":
                rows = (
                    ", ".join(filter(None, map(self._cell, _children(row, f"{W}tc")))) for row in _rows(child)
                )
                yield "; ".join(filter(None, rows))
            elif child.tag == f"{W}p":
                yield from (block.text for block in self._paragraph(child))
            elif child.tag not in _SKIPPED:
                yield from self._cell_pieces(child)

    def _read(self, paragraph: etree._Element) -> str:
        text = self._text.read(paragraph).strip()
        self._spend(len(text))
        return text

    def _spend(self, characters: int) -> None:
        """Raise `ResourceExhausted` once the document has more text than one may have."""
        self._characters += characters
        require_characters(self._characters)


def _rows(table: etree._Element) -> Iterator[etree._Element]:
    """Yield the rows of a table but for those that a tracked change has deleted."""
    for row in _children(table, f"{W}tr"):
        if row.find(f"{W}trPr/{W}del") is None:
            yield row


def _children(element: etree._Element, tag: str) -> Iterator[etree._Element]:
    """Yield the children with `tag`, content controls and tracked insertions around them looked through."""
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag in {f"{W}sdt", f"{W}sdtContent", f"{W}customXml", f"{W}ins", f"{W}moveTo"}:
            yield from _children(child, tag)


def _first_part(package: OoxmlPackage, main: str, kind: str) -> etree._Element | None:
    return next((package.part(name) for name in package.related(main, kind)), None)


def _span(element: etree._Element | None, default: int) -> int:
    return default if element is None else min(integer(element.get(f"{W}val"), default), _MAX_SPAN)


def _list_line(text: str, item: Item) -> str:
    indent = "  " * item.level
    mark = item.label or "-"
    return f"{indent}{mark} " + text.replace("\n", f"\n{indent}  ")


def _joined_lists(blocks: Iterator[TextBlock]) -> Iterator[TextBlock]:
    """Yield the blocks with the items of each list as one block."""
    lines: list[str] = []
    for block in blocks:
        if block.kind is BlockKind.LIST:
            lines.append(block.text)
            continue
        if lines:
            yield TextBlock(BlockKind.LIST, "\n".join(lines))
            lines = []
        yield block
    if lines:
        yield TextBlock(BlockKind.LIST, "\n".join(lines))
