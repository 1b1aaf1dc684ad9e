"""Properties of the paragraphs of a Word 97-2003 document: their styles, and which of them end a table's row.

[MS-DOC] 2.8.25 (PlcBtePapx), 2.9.174 (PapxFkp), 2.9.172 (PapxInFkps).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass

from ingest_worker.parse.doc_pieces import damaged
from ingest_worker.parse.limits import require_parts

_PAGE_BYTES = 512
_PLACE_BYTES = 13
"""Of an entry in a page: where its properties stand, and the paragraph's height, which nobody needs."""
_HEADING_STYLES = range(1, 10)
"""The index of a style in the style sheet is fixed for the nine headings, [MS-DOC] 2.9.271."""
_MAX_LEVEL = 6
_SPRM_IN_TABLE, _SPRM_ROW_END = 0x2416, 0x2417
_OPERAND_BYTES = (1, 1, 2, 4, 2, 2, 0, 3)
"""By the three highest bits of a property's code, [MS-DOC] 2.6; 0 stands for a size of its own."""
_LONG_OPERANDS = {0xD608, 0xD606}
"""Codes whose operand has a size of two bytes, which counts one byte more than follow."""
_MAX_PAGES = 200_000


@dataclass(frozen=True, slots=True)
class Paragraph:
    """What is known of a paragraph beside its text."""

    level: int = 0
    """1 to 6 for a heading, 0 for all else."""
    is_in_table: bool = False
    is_row_end: bool = False
    """Whether its mark ends a row of a table rather than a cell."""


class Paragraphs:
    """The properties of all paragraphs, by where their text stands in the stream `WordDocument`."""

    def __init__(self, word: bytes, index: bytes) -> None:
        """Take the stream, and the index of its pages of properties, PlcBtePapx.

        Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) for pages outside of the stream, and `ResourceExhausted`
        (`DOCUMENT_TOO_LARGE`).
        """
        self._word = word
        count = max(len(index) - 4, 0) // 8
        require_parts(count, _MAX_PAGES, "pages of paragraphs")
        self._starts: list[int] = list(struct.unpack_from(f"<{count}I", index))
        pages = struct.unpack_from(f"<{count}I", index, 4 * (count + 1)) if count else ()
        self._pages = [(number & 0x3FFFFF) * _PAGE_BYTES for number in pages]
        if any(page + _PAGE_BYTES > len(word) for page in self._pages):
            raise damaged()
        self._read: dict[int, tuple[list[int], list[Paragraph]]] = {}
        """Pages by their place, each read once."""

    def at(self, place: int) -> Paragraph:
        """Return the properties of the paragraph that the byte at `place` belongs to."""
        number = bisect_right(self._starts, place) - 1
        if number < 0:
            return Paragraph()
        page = self._pages[number]
        if page not in self._read:
            self._read[page] = _page(self._word[page : page + _PAGE_BYTES])
        starts, paragraphs = self._read[page]
        run = bisect_right(starts, place) - 1
        return paragraphs[run] if 0 <= run < len(paragraphs) else Paragraph()


def _page(page: bytes) -> tuple[list[int], list[Paragraph]]:
    count = page[-1]
    entries = 4 * (count + 1)
    if entries + count * _PLACE_BYTES > _PAGE_BYTES - 1:
        raise damaged()
    starts = list(struct.unpack_from(f"<{count}I", page))
    return starts, [_paragraph(page, 2 * page[entries + number * _PLACE_BYTES]) for number in range(count)]


def _paragraph(page: bytes, place: int) -> Paragraph:
    """Return what the properties at `place` of a page say; 0 stands for none."""
    if not place:
        return Paragraph()
    size = 2 * page[place] - 1
    place += 1
    if size < 0:  # an even number of bytes has its count in a byte of its own
        if place >= _PAGE_BYTES:
            raise damaged()
        size = 2 * page[place]
        place += 1
    properties = page[place : min(place + size, _PAGE_BYTES - 1)]
    style = int.from_bytes(properties[:2], "little")
    found = _properties(properties[2:])
    return Paragraph(
        level=min(style, _MAX_LEVEL) if style in _HEADING_STYLES else 0,
        is_in_table=bool(found.get(_SPRM_IN_TABLE)),
        is_row_end=bool(found.get(_SPRM_ROW_END)),
    )


def _properties(encoded: bytes) -> dict[int, int]:
    """Return the first byte of each property by its code; what is cut off is left out."""
    found: dict[int, int] = {}
    position = 0
    while position + 3 <= len(encoded):
        (code,) = struct.unpack_from("<H", encoded, position)
        position += 2
        found[code] = encoded[position]
        size = _OPERAND_BYTES[code >> 13]
        if code in _LONG_OPERANDS:
            size = int.from_bytes(encoded[position : position + 2], "little") + 1
        elif not size:
            size = encoded[position] + 1
        position += size
    return found
