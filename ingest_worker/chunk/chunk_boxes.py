"""`boxes_of`: where a passage stands on its pages, as a few boxes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import groupby

from rag_server.domain.box_merging import merged, union
from rag_server.domain.document import Span
from rag_server.domain.page_boxes import MAX_CHUNK_BOXES, Edges, PageBox, TextPlaces

_PARTED = 2
"""Code points between two lines that belong to different blocks, at least: a blank line."""


def boxes_of(places: TextPlaces, span: Span) -> tuple[PageBox, ...]:
    """Return one box for each page and run of lines of a block that has a part in `span`, in reading order.

    Lines count whole, though the passage may begin or end within one. Where that makes more than
    `MAX_CHUNK_BOXES`, there is one box for each page, and for the first pages only.
    """
    groups: list[tuple[int, list[Edges]]] = []
    before, page = -_PARTED, 0
    for start, end, box in places.within(span.start, span.end):
        if box.page != page or start - before >= _PARTED:
            groups.append((box.page, []))
        groups[-1][1].append((box.left, box.top, box.right, box.bottom))
        before, page = end, box.page
    found = [(page, edges) for page, lines in groups for edges in merged(lines)]
    if len(found) > MAX_CHUNK_BOXES:
        found = _by_page(found)[:MAX_CHUNK_BOXES]
    return tuple(PageBox(page, *edges) for page, edges in found)


def _by_page(found: Sequence[tuple[int, Edges]]) -> list[tuple[int, Edges]]:
    pages = groupby(found, key=lambda each: each[0])
    return [(page, reduce(union, (edges for _, edges in those))) for page, those in pages]
