"""`merged`: boxes of pieces of text that stand together become one box, as a reader would mark them."""

from __future__ import annotations

from collections.abc import Iterable

from rag_server.domain.page_boxes import Edges


def merged(boxes: Iterable[Edges]) -> list[Edges]:
    """Return the boxes of runs of neighbours, in the order in which the runs begin.

    A box goes on with the run before it where its place follows on that of the run's last piece: one below
    (or above) the other with no more than the higher one's height between them, or side by side with no more
    than the wider one's width between them. So the lines of a paragraph become one box, and where the text
    goes on in another column a new one begins; lines that run from top to bottom become one likewise.
    """
    runs: list[Edges] = []
    last: Edges | None = None
    for box in boxes:
        if last is not None and _follows(last, box):
            runs[-1] = union(runs[-1], box)
        else:
            runs.append(box)
        last = box
    return runs


def union(one: Edges, other: Edges) -> Edges:
    """Return the smallest box around both."""
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def _follows(one: Edges, other: Edges) -> bool:
    across = max(one[0], other[0]) - min(one[2], other[2])
    along = max(one[1], other[1]) - min(one[3], other[3])  # gaps; below 0 where they overlap
    widest = max(one[2] - one[0], other[2] - other[0])
    highest = max(one[3] - one[1], other[3] - other[1])
    return (across <= 0 and along <= highest) or (along <= 0 and across <= widest)
