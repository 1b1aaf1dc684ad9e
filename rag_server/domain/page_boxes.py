"""Where on its pages a text stands: boxes of the lines of a document, and of a passage."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

UNITS = 10_000
"""Of the width of a page, and of its height: a unit is 0.08 points on the long side of A4."""
MAX_CHUNK_BOXES = 32
"""Of one chunk; as the contract says."""

Edges = tuple[int, int, int, int]
"""Left, top, right and bottom in `UNITS`, from the upper left corner of the page as a reader sees it: cropped
and turned as the document says. `0 <= left < right <= UNITS`, likewise top and bottom."""


@dataclass(frozen=True, slots=True)
class PageBox:
    """A rectangle on a page. Raises `ValueError` unless it lies in its page and has an area."""

    page: int
    """From 1."""
    left: int
    """This and the others: see `Edges`."""
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        is_inside = 0 <= self.left < self.right <= UNITS and 0 <= self.top < self.bottom <= UNITS
        if self.page < 1 or not is_inside:
            raise ValueError(f"no box on a page: {self}")


def _column() -> array[int]:
    return array("i")


@dataclass(frozen=True, slots=True)
class TextPlaces:
    """Lines of a text and their boxes, in the order of the text.

    Columns of `n` numbers rather than objects, since a long document has a hundred thousand lines: 28 bytes
    each. A line with several boxes has several rows with the same start and end.
    """

    starts: array[int] = field(default_factory=_column)
    """Of the lines in `ParsedDocument.text`, in code points; lines do not overlap."""
    ends: array[int] = field(default_factory=_column)
    pages: array[int] = field(default_factory=_column)
    lefts: array[int] = field(default_factory=_column)
    tops: array[int] = field(default_factory=_column)
    rights: array[int] = field(default_factory=_column)
    bottoms: array[int] = field(default_factory=_column)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def columns(self) -> tuple[array[int], ...]:
        """Every column, in the order of the fields."""
        return (self.starts, self.ends, self.pages, self.lefts, self.tops, self.rights, self.bottoms)

    def add(self, start: int, end: int, page: int, edges: Edges) -> None:
        """Append a row; lines come in order."""
        for column, number in zip(self.columns, (start, end, page, *edges), strict=True):
            column.append(number)

    def within(self, start: int, end: int) -> Iterator[tuple[int, int, PageBox]]:
        """Yield start, end and box of the rows whose line has a part in `[start, end)`."""
        first, last = bisect_right(self.ends, start), bisect_left(self.starts, end)
        for row in range(first, last):
            box = PageBox(
                self.pages[row], self.lefts[row], self.tops[row], self.rights[row], self.bottoms[row]
            )
            yield self.starts[row], self.ends[row], box


def flattened(boxes: Sequence[PageBox]) -> list[int]:
    """Return five numbers for each box, one after the other."""
    return [number for box in boxes for number in (box.page, box.left, box.top, box.right, box.bottom)]


def unflattened(numbers: Sequence[int]) -> tuple[PageBox, ...]:
    """Undo `flattened`."""
    return tuple(PageBox(*numbers[at : at + 5]) for at in range(0, len(numbers), 5))
