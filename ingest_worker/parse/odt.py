"""ODT: headings, paragraphs, lists and tables of OpenDocument text (ISO/IEC 26300-1) in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.markdown_table import table_blocks
from ingest_worker.parse.ooxml import MAX_XML_BYTES
from ingest_worker.parse.xml_tree import integer, parse_part
from ingest_worker.parse.zip_guard import open_guarded, read_member
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_NAMESPACE = "urn:oasis:names:tc:opendocument:xmlns:"
OFFICE, TEXT, TABLE, DRAW, STYLE = (
    f"{{{_NAMESPACE}{name}:1.0}}" for name in ("office", "text", "table", "drawing", "style")
)
_SKIPPED = {
    *(f"{TEXT}tracked-changes", f"{TEXT}sequence-decls", f"{TEXT}variable-decls", f"{OFFICE}forms"),
    *(f"{TEXT}user-field-decls", f"{OFFICE}annotation", f"{OFFICE}annotation-end", f"{TEXT}note-citation"),
    *(f"{DRAW}image", f"{DRAW}object", f"{TEXT}hidden-text", f"{DRAW}glue-point"),
}
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*\Z")
_MAX_REPEATED = 100
"""Times that a repeated cell or row is written out; a sheet's worth of empty ones may be declared."""
_CELL_CHARACTERS = 3
"""What a cell adds to a row besides its text."""
_MAX_LEVEL = 6


class OdtParser:
    """Parser of ODT. Comments are left out, and what tracked changes have deleted."""

    media_types = frozenset({MediaType.ODT})

    def parse(self, data: bytes) -> ParsedDocument:
        archive = open_guarded(data)
        names = set(archive.namelist())
        if "META-INF/manifest.xml" in names:
            manifest = parse_part(read_member(archive, "META-INF/manifest.xml", MAX_XML_BYTES))
            if next(manifest.iter("{*}encryption-data"), None) is not None:
                raise faults.encrypted()
        root = parse_part(read_member(archive, "content.xml", MAX_XML_BYTES))
        body = root.find(f"{OFFICE}body/{OFFICE}text")
        if body is None:
            raise faults.corrupt("is no OpenDocument text: its content has no body of text")
        walk = _Walk(root)
        try:
            blocks = list(walk.blocks(body))
        except RecursionError as error:
            raise faults.corrupt("nests its elements too deeply") from error
        if not blocks:
            raise faults.has_no_text("its body holds no text; pictures of text need OCR first")
        meta = parse_part(read_member(archive, "meta.xml", MAX_XML_BYTES)) if "meta.xml" in names else None
        title, language = ("", "") if meta is None else (_found(meta, tag) for tag in ("title", "language"))
        first = next((block.text for block in blocks if block.kind is BlockKind.HEADING), "")
        return assemble(
            blocks, title=title or walk.title or first, language=language if _LANGUAGE.match(language) else ""
        )


class _Walk:
    """One pass over a body of text."""

    def __init__(self, root: etree._Element) -> None:
        self.title = ""
        self._characters = 0
        self._notes: list[etree._Element] = []
        self._boxes: list[etree._Element] = []
        self._note_count = 0
        self._numbered = {
            (style.get(f"{STYLE}name"), level.get(f"{TEXT}level"))
            for style in root.iter(f"{TEXT}list-style")
            for level in style.iterfind(f"{TEXT}list-level-style-number")
            if level.get(f"{STYLE}num-format")
        }
        self._parents = {
            style.get(f"{STYLE}name"): style.get(f"{STYLE}parent-style-name")
            for style in root.iter(f"{STYLE}style")
        }

    def blocks(self, container: etree._Element) -> Iterator[TextBlock]:
        """Yield the blocks under `container`."""
        for child in container:
            if child.tag in {f"{TEXT}p", f"{TEXT}h"}:
                yield from self._paragraph(child)
            elif child.tag == f"{TEXT}list":
                yield TextBlock(BlockKind.LIST, "\n".join(self._list_lines(child, "", 0)))
                yield from self._attached()
            elif child.tag == f"{TABLE}table":
                yield from self._table(child)
            elif child.tag not in _SKIPPED and child.get(f"{TEXT}display") != "none":
                yield from self.blocks(child)

    def _paragraph(self, paragraph: etree._Element) -> Iterator[TextBlock]:
        text = self._read(paragraph)
        style = paragraph.get(f"{TEXT}style-name") or ""
        is_title = "Title" in {style, self._parents.get(style)}
        if text and (paragraph.tag == f"{TEXT}h" or is_title):
            level = max(integer(paragraph.get(f"{TEXT}outline-level"), 1), 1)
            said = " ".join(text.split())
            self.title = self.title or (said if is_title else "")
            yield TextBlock(BlockKind.HEADING, said, min(level, _MAX_LEVEL))
        elif text:
            yield TextBlock(BlockKind.PARAGRAPH, text)
        yield from self._attached()

    def _attached(self) -> Iterator[TextBlock]:
        """Yield the text boxes and the notes of the paragraphs read last."""
        boxes, self._boxes = self._boxes, []
        notes, self._notes = self._notes, []
        for box in boxes:
            yield from self.blocks(box)
        number = self._note_count - len(notes)
        for note in notes:
            number += 1
            body = note.find(f"{TEXT}note-body")
            said = "" if body is None else " ".join(self._flat(body).split())
            if said:
                yield TextBlock(BlockKind.PARAGRAPH, f"[{number}] {said}")

    def _list_lines(self, element: etree._Element, style: str, depth: int) -> Iterator[str]:
        """Yield a line for each item, nested lists indented under theirs."""
        style = element.get(f"{TEXT}style-name") or style
        is_numbered = (style, str(depth + 1)) in self._numbered
        start = element.find(f"{TEXT}list-item")
        number = (1 if start is None else integer(start.get(f"{TEXT}start-value"), 1)) - 1
        indent = "  " * depth
        for item in element:
            if item.tag not in {f"{TEXT}list-item", f"{TEXT}list-header"}:
                continue
            mark = indent + "- "
            if is_numbered and item.tag == f"{TEXT}list-item":
                number += 1
                mark = f"{indent}{number}. "
            for child in item:
                if child.tag == f"{TEXT}list":
                    yield from self._list_lines(child, style, depth + 1)
                elif child.tag in {f"{TEXT}p", f"{TEXT}h"} and (text := self._read(child)):
                    yield mark + text.replace("\n", f"\n{indent}  ")
                    mark = indent + "  "

    def _table(self, table: etree._Element) -> Iterator[TextBlock]:
        cells = [cell for row in _table_rows(table) for cell in row if cell.tag == f"{TABLE}table-cell"]
        if len(cells) == 1:  # a frame around a part of the text
            yield from self.blocks(cells[0])
            return
        rows: list[list[str]] = []
        above: dict[int, tuple[int, str]] = {}  # of a column: rows that still repeat a merged cell's text
        for row in _table_rows(table):
            texts: list[str] = []
            is_whole = sum(cell.tag == f"{TABLE}table-cell" for cell in row) == 1
            for cell in row:
                if cell.tag not in {f"{TABLE}table-cell", f"{TABLE}covered-table-cell"}:
                    continue
                left, merged = above.get(len(texts), (0, ""))
                text = merged if left else " ".join(self._flat(cell).split())
                if left:
                    above[len(texts)] = left - 1, merged
                elif (span := _count(cell, f"{TABLE}number-rows-spanned")) > 1:
                    above[len(texts)] = span - 1, text
                if cell.tag == f"{TABLE}covered-table-cell" and not text and texts and not is_whole:
                    text = texts[-1]
                times = _count(cell, f"{TABLE}number-columns-repeated")
                self._spend((len(text) + _CELL_CHARACTERS) * times)
                texts += [text] * times
            times = _count(row, f"{TABLE}number-rows-repeated") if any(texts) else 1
            self._spend((times - 1) * sum(len(text) + _CELL_CHARACTERS for text in texts))
            rows += [texts] * times
        yield from table_blocks(rows)
        yield from self._attached()

    def _flat(self, container: etree._Element) -> str:
        """Return all paragraphs under `container`; a table in it becomes `a, b; c, d`."""
        said: list[str] = []
        for child in container:
            if child.tag in {f"{TEXT}p", f"{TEXT}h"}:
                said.append(self._read(child))
            elif child.tag == f"{TABLE}table":
                rows = (", ".join(filter(None, map(self._flat, row))) for row in _table_rows(child))
                said.append("; ".join(filter(None, rows)))
            elif child.tag not in _SKIPPED:
                said.append(self._flat(child))
        return " ".join(filter(None, said))

    def _read(self, paragraph: etree._Element) -> str:
        text = "".join(self._pieces(paragraph)).strip()
        self._spend(len(text))
        return text

    def _spend(self, characters: int) -> None:
        """Raise `ResourceExhausted` once the document has more text than one may have."""
        self._characters += characters
        require_characters(self._characters)

    def _pieces(self, element: etree._Element) -> Iterator[str]:
        """Yield the text of a paragraph; line ends and runs of white space in it are one space."""
        yield _collapsed(element.text)
        for child in element:
            if child.tag == f"{TEXT}s":
                yield " " * _count(child, f"{TEXT}c")
            elif child.tag == f"{TEXT}tab":
                yield "\t"
            elif child.tag == f"{TEXT}line-break":
                yield "\n"
            elif child.tag == f"{TEXT}note":
                self._notes.append(child)
                self._note_count += 1
                yield f"[{self._note_count}]"
            elif child.tag == f"{DRAW}text-box":
                self._boxes.append(child)
            elif isinstance(child.tag, str) and child.tag not in _SKIPPED:
                yield from self._pieces(child)
            yield _collapsed(child.tail)


def _table_rows(element: etree._Element) -> Iterator[etree._Element]:
    """Yield the rows of a table, groups of rows looked through, but not those of tables in its cells."""
    for child in element:
        if child.tag == f"{TABLE}table-row":
            yield child
        elif child.tag in {f"{TABLE}table-header-rows", f"{TABLE}table-rows", f"{TABLE}table-row-group"}:
            yield from _table_rows(child)


def _count(element: etree._Element, attribute: str) -> int:
    return min(max(integer(element.get(attribute), 1), 1), _MAX_REPEATED)


def _collapsed(text: str | None) -> str:
    return re.sub(r"[ \t\r\n]+", " ", text or "")


def _found(meta: etree._Element, tag: str) -> str:
    return next((str(element.text or "") for element in meta.iter(f"{{*}}{tag}")), "").strip()
