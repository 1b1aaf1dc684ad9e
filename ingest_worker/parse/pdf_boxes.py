"""Where the characters of a PDF's page stand on the page as a reader sees it."""

from __future__ import annotations

from typing import Any

import pypdfium2.raw as pdfium

from rag_server.domain.box_merging import merged
from rag_server.domain.page_boxes import UNITS, Edges


def page_edges(page: Any, text: Any, first: int, count: int) -> tuple[Edges, ...]:
    """Return the boxes of `count` characters from `first` on, one for each run that stands together.

    Characters of one line make one box. A line that a hyphen joins to the next, which may stand in another
    column, can have two. What lies outside of the page's visible part (its crop box) has none.

    Args:
        page: The `pypdfium2.PdfPage`, whose rotation and crop box count.
        text: Its text page.
        first: Number of a character, from 0.
        count: Number of characters.

    Call it under the lock of the library.
    """
    left, top, right, bottom = (pdfium.c_double() for _ in range(4))
    found: list[Edges] = []
    for index in range(max(pdfium.FPDFText_CountRects(text.raw, first, count), 0)):
        if pdfium.FPDFText_GetRect(text.raw, index, left, top, right, bottom):
            corners = (
                _on_page(page, left.value, top.value),
                _on_page(page, right.value, bottom.value),
            )
            edges = visible_edges(*corners)
            if edges is not None:
                found.append(edges)
    return tuple(merged(found))


def visible_edges(one: tuple[float, float], other: tuple[float, float]) -> Edges | None:
    """Return the part within its page of a rectangle, by two opposite corners in `UNITS`.

    None where nothing of it is; what is thinner than a unit has one.
    """
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(one, other, strict=True))
    if right < 0 or bottom < 0 or left >= UNITS or top >= UNITS:
        return None
    edges = _clamped(left, right), _clamped(top, bottom)
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


def _clamped(low: float, high: float) -> tuple[int, int]:
    start = min(max(round(low), 0), UNITS - 1)
    return start, min(max(round(high), start + 1), UNITS)


def _on_page(page: Any, across: float, up: float) -> tuple[int, int]:
    """Return a point of the page's own coordinates, in `UNITS` from its upper left corner."""
    x, y = pdfium.c_int(), pdfium.c_int()
    if not pdfium.FPDF_PageToDevice(page.raw, 0, 0, UNITS, UNITS, 0, across, up, x, y):
        return -1, -1
    return x.value, y.value
