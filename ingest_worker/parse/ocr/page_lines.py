"""`page_lines`: text found in the picture of a page becomes lines, as the text layer of a page has them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ingest_worker.parse.ocr.reading_order import reading_order
from ingest_worker.parse.ocr.recogniser import TextBox
from ingest_worker.parse.pdf_boxes import visible_edges
from ingest_worker.parse.pdf_layout import Line
from rag_server.domain.page_boxes import UNITS, Edges

_SIZE_PER_HEIGHT = 0.8
"""A box reaches somewhat beyond the ascenders and descenders of its line, which are about the font's size."""
_DESCENT = 0.25
"""Of the height of a box, what is below the baseline."""
_LARGE = 1.4
"""Boxes of at least this many usual heights hold larger type; below that, heights vary with the letters."""


def page_lines(boxes: Sequence[TextBox], scale: float, page_size: tuple[float, float]) -> list[Line]:
    """Return lines in reading order, in points from the page's lower left corner.

    Args:
        boxes: What was found, in pixels; those without a letter or digit are left out: shapes are read as
            symbols.
        scale: Pixels per point.
        page_size: Width and height in points.
    """
    seen = [box for box in boxes if box.height > 0 and any(map(str.isalnum, box.text))]
    if not seen:
        return []
    width, height = page_size
    usual = median(box.height for box in seen)
    return [
        Line(
            box.text,
            _font_size(box.height, usual, scale),
            box.left / scale,
            baseline := height - (box.bottom - _DESCENT * box.height) / scale,
            baseline,
            boxes=_edges(box, width * scale, height * scale),
        )
        for box in reading_order(seen)
    ]


def _edges(box: TextBox, width: float, height: float) -> tuple[Edges, ...]:
    """Return where a box stands in a picture of these sizes in pixels, whose page is turned already."""
    corners = [
        (UNITS * across / width, UNITS * down / height)
        for across, down in ((box.left, box.top), (box.right, box.bottom))
    ]
    edges = visible_edges(*corners)
    return () if edges is None else (edges,)


def _font_size(height: float, usual: float, scale: float) -> float:
    """Return whole points: the page's usual size, or that of larger type in steps of a quarter of it."""
    heights = round(4 * height / usual) / 4 if height >= _LARGE * usual else 1
    return float(max(1, round(_SIZE_PER_HEIGHT * heights * usual / scale)))
