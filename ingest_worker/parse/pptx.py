"""PPTX: a slide is a page, its title a heading; then what it shows from the top down, then its notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from zipfile import BadZipFile

import pptx
from lxml import etree
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.exc import PythonPptxError

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.cell_text import cell_text
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.markdown_table import table_blocks
from ingest_worker.parse.ooxml import OoxmlPackage
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_DAMAGE = (
    *(OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, AssertionError),
    *(PythonPptxError, BadZipFile, etree.LxmlError, NotImplementedError),
)
"""What python-pptx raises for parts that are not as they should be."""
_FURNITURE = {
    *(PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.HEADER, PP_PLACEHOLDER.SLIDE_NUMBER),
}
_BULLETED = {PP_PLACEHOLDER.BODY, PP_PLACEHOLDER.OBJECT, PP_PLACEHOLDER.VERTICAL_BODY}
_ROW_TOLERANCE_EMU = 228_600
"""Shapes whose tops are within a quarter of an inch stand beside each other."""
_MAX_GROUP_DEPTH = 20


class PptxParser:
    """Parser of PPTX. Hidden slides, footers and slide numbers are left out."""

    media_types = frozenset({MediaType.PPTX})

    def parse(self, data: bytes) -> ParsedDocument:
        package = OoxmlPackage(data)
        package.main_part()
        blocks: list[TextBlock] = []
        characters = 0
        try:
            slides = list(pptx.Presentation(package.without_media()).slides)
            for number, slide in enumerate(slides, 1):
                for block in _slide_blocks(slide, number):
                    characters += len(block.text)
                    require_characters(characters)
                    blocks.append(block)
        except _DAMAGE as error:
            raise faults.corrupt("is a presentation with parts that cannot be read: damaged") from error
        except RecursionError as error:
            raise faults.corrupt("nests its elements too deeply") from error
        if not blocks:
            raise faults.has_no_text(
                f"none of its {len(slides)} slides holds text; pictures of text need OCR"
            )
        first = next((block.text for block in blocks if block.kind is BlockKind.HEADING), "")
        return assemble(blocks, title=package.title() or first, page_count=len(slides))


def _slide_blocks(slide: Any, page: int) -> Iterator[TextBlock]:
    if slide.element.get("show") in {"0", "false"}:
        return
    title = slide.shapes.title
    if title is not None and title.has_text_frame:
        yield TextBlock(BlockKind.HEADING, " ".join(_said(title.text_frame).split()), 1, page)
    for shape in _in_reading_order(slide.shapes):
        if title is None or shape.shape_id != title.shape_id:
            yield from _shape_blocks(shape, page, 0)
    if slide.has_notes_slide:
        notes = slide.notes_slide.notes_text_frame
        if notes is not None:
            yield TextBlock(BlockKind.PARAGRAPH, _said(notes), page=page)


def _in_reading_order(shapes: Iterable[Any]) -> list[Any]:
    """Return `shapes` row by row, each from the left; those without a position come last."""
    placed = [(shape.top, shape.left, shape) for shape in shapes if shape.top is not None]
    placed.sort(key=lambda item: item[0])
    rows: list[list[tuple[int, Any]]] = []
    row_top = 0
    for top, left, shape in placed:
        if not rows or top - row_top > _ROW_TOLERANCE_EMU:
            rows.append([])
            row_top = top
        rows[-1].append((left or 0, shape))
    ordered = [shape for row in rows for _, shape in sorted(row, key=lambda item: item[0])]
    return ordered + [shape for shape in shapes if shape.top is None]


def _shape_blocks(shape: Any, page: int, depth: int) -> Iterator[TextBlock]:
    kind = shape.placeholder_format.type if shape.is_placeholder else None
    if kind in _FURNITURE or depth > _MAX_GROUP_DEPTH:
        return
    if hasattr(shape, "shapes"):
        for inner in _in_reading_order(shape.shapes):
            yield from _shape_blocks(inner, page, depth + 1)
    elif shape.has_text_frame:
        yield from _frame_blocks(shape.text_frame, page, is_bulleted=kind in _BULLETED)
    elif getattr(shape, "has_table", False):
        yield from table_blocks(_rows(shape.table), page=page)
    elif getattr(shape, "has_chart", False):
        try:
            yield from list(_chart_blocks(shape.chart, page))
        except _DAMAGE:
            return  # a kind of chart that python-pptx does not read; the slide around it is intact


def _frame_blocks(frame: Any, page: int, *, is_bulleted: bool) -> Iterator[TextBlock]:
    """Yield the paragraphs of a text frame; those with bullets or numbers in a row are one list."""
    paragraphs = [paragraph for paragraph in frame.paragraphs if _text_of(paragraph).strip()]
    is_bulleted = is_bulleted and len(paragraphs) > 1
    items: list[str] = []
    for paragraph in paragraphs:
        text = _text_of(paragraph).strip()
        if _has_bullet(paragraph, default=is_bulleted):
            indent = "  " * paragraph.level
            items.append(f"{indent}- " + text.replace("\n", f"\n{indent}  "))
            continue
        if items:
            yield TextBlock(BlockKind.LIST, "\n".join(items), page=page)
            items = []
        yield TextBlock(BlockKind.PARAGRAPH, text, page=page)
    if items:
        yield TextBlock(BlockKind.LIST, "\n".join(items), page=page)


def _has_bullet(paragraph: Any, *, default: bool) -> bool:
    properties = paragraph._p.find(f"{_A}pPr")  # noqa: SLF001 - python-pptx has no word for bullets
    if properties is None:
        return default
    if properties.find(f"{_A}buNone") is not None:
        return False
    return default or any(
        properties.find(f"{_A}{name}") is not None for name in ("buChar", "buAutoNum", "buBlip")
    )


def _rows(table: Any) -> Iterator[list[str]]:
    """Yield the texts of a table; merged cells repeat theirs, but for one that is all of its row."""
    above: dict[int, str] = {}
    for row in table.rows:
        texts: list[str] = []
        is_whole = sum(not cell._tc.hMerge for cell in row.cells) == 1  # noqa: SLF001 - see below
        for column, cell in enumerate(row.cells):
            element = cell._tc  # noqa: SLF001 - which way a cell is merged stands in its attributes only
            if element.vMerge:
                texts.append(above.get(column, ""))
            elif element.hMerge:
                texts.append(texts[-1] if texts and not is_whole else "")
            else:
                texts.append(_said(cell.text_frame))
            above[column] = texts[-1]
        yield texts


def _chart_blocks(chart: Any, page: int) -> Iterator[TextBlock]:
    """Yield the title of a chart and its data as a table: a row for each category."""
    if chart.has_title and chart.chart_title.has_text_frame:
        yield TextBlock(BlockKind.PARAGRAPH, _said(chart.chart_title.text_frame), page=page)
    for plot in chart.plots:
        series = list(plot.series)
        categories = [str(category) for category in plot.categories]
        columns = [[cell_text(value) for value in one.values] for one in series]
        rows = [
            [category, *(column[row] if row < len(column) else "" for column in columns)]
            for row, category in enumerate(categories)
        ]
        yield from table_blocks([["", *(str(one.name) for one in series)], *rows] if rows else [], page=page)


def _said(frame: Any) -> str:
    return "\n".join(filter(str.strip, map(_text_of, frame.paragraphs)))


def _text_of(paragraph: Any) -> str:
    return str(paragraph.text).replace("\v", "\n")
