"""The text of a Word 97-2003 document: its pieces, [MS-DOC] 2.8.35 and 2.9.38, put in their order."""

from __future__ import annotations

import itertools
import struct
from bisect import bisect_right
from dataclasses import dataclass

from ingest_worker.parse import faults
from ingest_worker.parse.limits import require_characters, require_parts
from rag_server.domain.document import MediaType
from rag_server.errors import InvalidArgument

_IDENTITY = 0xA5EC
"""Of Word 97 and later."""
_OLDER_IDENTITIES = {0xA5DC, 0xA5DB, 0xA59B, 0xA59C, 0xA697, 0xA699}
"""Of Word 1 to 95, which write other structures."""
_FIRST_VERSION = 0xC0
_IS_ENCRYPTED, _TABLE_IS_1 = 0x0100, 0x0200
_FIB_BYTES = 0x1AA
"""Up to where the pieces are told, [MS-DOC] 2.5.6."""
_COUNTS, _PAPX, _CLX = 0x4C, 0x102, 0x1A2
"""Where the counts of characters stand, the places of the paragraphs' properties, and of the pieces."""
_PRC, _PCDT = 1, 2
_COMPRESSED = 1 << 30
_PIECE_BYTES = 12
"""Of a piece: where it starts, and where it is."""
_MAX_PIECES = 1_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """A run of characters `[start, end)` of the whole text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FileInformation:
    """What the start of the stream `WordDocument` says: the FIB."""

    table_stream: str
    main: Part
    footnotes: Part
    endnotes: Part
    text_boxes: Part
    character_count: int
    """Of all parts, those that are not read as well: headers and footers, comments."""
    paragraphs: tuple[int, int]
    """Offset and size, in the table stream, of the index of the paragraphs' properties."""
    pieces: tuple[int, int]
    """Offset and size, in the table stream, of the pieces."""


def file_information(word: bytes) -> FileInformation:
    """Read the FIB of `word`, the stream `WordDocument`.

    Raises `InvalidArgument`: `DOCUMENT_CORRUPT`, `DOCUMENT_ENCRYPTED`, and `UNSUPPORTED_MEDIA_TYPE` for Word
    95 and older.
    """
    if len(word) < _FIB_BYTES:
        raise damaged()
    identity, version = struct.unpack_from("<HH", word)
    if identity in _OLDER_IDENTITIES or (identity == _IDENTITY and version < _FIRST_VERSION):
        raise faults.too_old(
            MediaType.DOC,
            "a document of Word 95 or older, which is not read; open it with a later version or with "
            "LibreOffice and save it as DOCX",
        )
    if identity != _IDENTITY:
        raise damaged()
    (flags,) = struct.unpack_from("<H", word, 0x0A)
    if flags & _IS_ENCRYPTED:
        raise faults.encrypted()
    main, footnotes, headers, macros, comments, endnotes, boxes, header_boxes = struct.unpack_from(
        "<8i", word, _COUNTS
    )
    counts = (main, footnotes, headers, macros, comments, endnotes, boxes, header_boxes)
    if min(counts) < 0:
        raise damaged()
    ends = [sum(counts[: number + 1]) for number in range(len(counts))]
    require_characters(ends[-1])
    return FileInformation(
        table_stream="1Table" if flags & _TABLE_IS_1 else "0Table",
        main=Part(0, main),
        footnotes=Part(ends[0], ends[1]),
        endnotes=Part(ends[4], ends[5]),
        text_boxes=Part(ends[5], ends[6]),
        character_count=ends[-1],
        paragraphs=struct.unpack_from("<2I", word, _PAPX),
        pieces=struct.unpack_from("<2I", word, _CLX),
    )


class Pieces:
    """The pieces that the text is made of, each in one place of the stream and in one encoding."""

    def __init__(self, word: bytes, table: bytes, information: FileInformation) -> None:
        """Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) and `ResourceExhausted` (`DOCUMENT_TOO_LARGE`)."""
        starts, self._places = _piece_table(section(table, information.pieces))
        self._starts: list[int] = []
        texts: list[str] = []
        position = 0
        for index, (place, width) in enumerate(self._places):
            start, end = starts[index], min(starts[index + 1], information.character_count)
            if start != position:
                raise damaged()
            count = max(end - start, 0)
            if place + count * width > len(word):
                raise faults.corrupt("has text outside of its file: truncated or damaged")
            encoded = word[place : place + count * width]
            if width == 1:
                texts.append(encoded.decode("cp1252", "replace"))
                length = count
            else:
                texts.append(_utf16(encoded))
                length = len(texts[-1])
            self._starts.append(position)
            position += length
            if end < starts[index + 1]:
                break
        if position < information.main.end:
            raise damaged()
        self.text = "".join(texts)
        """One character for each of the file's: a character beyond U+FFFF is two, as surrogates."""

    def place(self, position: int) -> int:
        """Return the offset of a character in the stream `WordDocument`."""
        index = max(bisect_right(self._starts, position) - 1, 0)
        offset, width = self._places[index]
        return offset + (position - self._starts[index]) * width


def section(table: bytes, where: tuple[int, int]) -> bytes:
    """Return a part of the table stream. Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) for one outside."""
    offset, size = where
    if offset + size > len(table):
        raise damaged()
    return table[offset : offset + size]


def damaged() -> InvalidArgument:
    """Return the error for structures that are not as they should be."""
    return faults.corrupt("is a Word document with structures that cannot be read: truncated or damaged")


def _piece_table(clx: bytes) -> tuple[list[int], list[tuple[int, int]]]:
    """Return where the pieces start and the last ends, in characters; place and width of each, in bytes."""
    position = 0
    while position + 3 <= len(clx) and clx[position] == _PRC:
        position += 3 + int.from_bytes(clx[position + 1 : position + 3], "little")
    if position + 5 > len(clx) or clx[position] != _PCDT:
        raise damaged()
    size = int.from_bytes(clx[position + 1 : position + 5], "little")
    position += 5
    if position + size > len(clx) or size < 4 + _PIECE_BYTES or (size - 4) % _PIECE_BYTES:
        raise damaged()
    count = (size - 4) // _PIECE_BYTES
    require_parts(count, _MAX_PIECES, "pieces of text")
    starts = list(struct.unpack_from(f"<{count + 1}I", clx, position))
    if any(end < start for start, end in itertools.pairwise(starts)):
        raise damaged()
    places: list[tuple[int, int]] = []
    for _, where, _ in struct.iter_unpack("<HIH", clx[position + 4 * (count + 1) : position + size]):
        is_compressed = bool(where & _COMPRESSED)
        offset = where & (_COMPRESSED - 1)
        places.append((offset // 2, 1) if is_compressed else (offset, 2))
    return starts, places


def _utf16(encoded: bytes) -> str:
    """Return one character for each two bytes, halves of surrogate pairs as they are."""
    text = encoded.decode("utf-16-le", "surrogatepass")
    if 2 * len(text) == len(encoded):
        return text
    return "".join(map(chr, struct.unpack(f"<{len(encoded) // 2}H", encoded)))
