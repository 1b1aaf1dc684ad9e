"""A parsed document as bytes, and back, from a process that is not to be trusted.

Not pickle, which runs what it reads; and not JSON for the blocks, of which a few bytes become many
objects. Small fields are a JSON object, the text is UTF-8, and each field of the blocks is a column of
32-bit numbers, as are the pages without text and the places of lines on their pages.
"""

from __future__ import annotations

import json
import struct
from array import array
from itertools import pairwise
from typing import Any

from ingest_worker.parse.limits import MAX_CHARACTERS
from rag_server.domain.document import Block, BlockKind, MediaType, ParsedDocument, Span
from rag_server.domain.page_boxes import UNITS, TextPlaces

MAX_BLOCKS = 1_000_000
"""Of one document. A block takes some 200 bytes once it is read, the shortest document with more has only
blocks of 20 characters."""
MAX_PAGES_WITHOUT_TEXT = 100_000
"""Of one document; the first ones are named."""
MAX_PLACES = 1_000_000
"""Boxes of lines of one document: 28 bytes each. A million lines are a book of 20 000 pages."""
_MAX_FIELDS_BYTES = 1 << 16
_MAX_TITLE_CHARACTERS = 4096
_MAX_LEVEL = 6
_LENGTHS = struct.Struct(">IIIII")
"""Bytes of the fields, bytes of the text, number of blocks, of pages without text, and of boxes of lines."""
_KINDS = tuple(BlockKind)
_NO_PAGE = 0
_COLUMN_COUNT = 5
_PLACE_COLUMN_COUNT = 7
_NUMBER_BYTES = array("i").itemsize


class MalformedDocument(ValueError):
    """The bytes are no document that `encode` would write."""


def is_encodable(parsed: ParsedDocument) -> bool:
    """Whether `parsed` has no more blocks and lines than are read back."""
    places = 0 if parsed.places is None else len(parsed.places)
    return len(parsed.blocks) <= MAX_BLOCKS and places <= MAX_PLACES


def encode(media_type: MediaType, parsed: ParsedDocument) -> bytes:
    """Return `parsed`, which is of `media_type` and `is_encodable`, as bytes."""
    fields = {
        "media_type": media_type.value,
        "title": parsed.title[:_MAX_TITLE_CHARACTERS],
        "language": parsed.language,
        "page_count": parsed.page_count,
        "has_places": parsed.places is not None,
    }
    head, text = json.dumps(fields).encode(), parsed.text.encode(errors="replace")
    blocks, textless = parsed.blocks, parsed.pages_without_text[:MAX_PAGES_WITHOUT_TEXT]
    columns = (
        (_KINDS.index(block.kind) for block in blocks),
        (block.span.start for block in blocks),
        (block.span.end for block in blocks),
        (block.level for block in blocks),
        (block.page or _NO_PAGE for block in blocks),
        textless,
    )
    places = parsed.places or TextPlaces()
    lengths = _LENGTHS.pack(len(head), len(text), len(blocks), len(textless), len(places))
    numbers = (array("i", column).tobytes() for column in columns)
    return b"".join([lengths, head, text, *numbers, *(column.tobytes() for column in places.columns)])


def decode(payload: bytes | bytearray) -> tuple[MediaType, ParsedDocument]:
    """Return what `encode` was given.

    Takes time and memory in proportion to the payload: keep it off the event loop. Raises `MalformedDocument`
    for anything that breaks the promises of `ParsedDocument`.
    """
    view = memoryview(payload)
    try:
        head_length, text_length, block_count, textless_count, place_count = _LENGTHS.unpack_from(view)
        columns_at = _LENGTHS.size + head_length + text_length
        textless_at = columns_at + block_count * _COLUMN_COUNT * _NUMBER_BYTES
        is_small = head_length <= _MAX_FIELDS_BYTES and block_count <= MAX_BLOCKS
        is_small = is_small and textless_count <= MAX_PAGES_WITHOUT_TEXT and place_count <= MAX_PLACES
        places_at = textless_at + textless_count * _NUMBER_BYTES
        if not is_small or places_at + place_count * _PLACE_COLUMN_COUNT * _NUMBER_BYTES != len(view):
            raise MalformedDocument("lengths")
        text = str(view[_LENGTHS.size + head_length : columns_at], "utf-8")
        if len(text) > MAX_CHARACTERS or "\0" in text:
            raise MalformedDocument("text")
        blocks = _blocks(view[columns_at:textless_at], block_count, len(text))
        fields = json.loads(bytes(view[_LENGTHS.size :][:head_length]))
        places = _places(view[places_at:], place_count, len(text), fields)
        textless = tuple(array("i", bytes(view[textless_at:places_at])))
        return _document(fields, text, blocks, textless, places)
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedDocument(type(error).__name__) from error


def _document(
    fields: dict[str, Any],
    text: str,
    blocks: tuple[Block, ...],
    textless: tuple[int, ...],
    places: TextPlaces | None,
) -> tuple[MediaType, ParsedDocument]:
    title, language, page_count = fields["title"], fields["language"], fields["page_count"]
    if not (isinstance(title, str) and len(title) <= _MAX_TITLE_CHARACTERS and "\0" not in title):
        raise MalformedDocument("title")
    if not (isinstance(language, str) and (not language or language.replace("-", "").isalnum())):
        raise MalformedDocument("language")
    if page_count is not None and not (type(page_count) is int and 0 <= page_count < 1 << 31):
        raise MalformedDocument("page_count")
    is_in_order = all(before < after for before, after in pairwise((0, *textless)))
    if not is_in_order or (textless and textless[-1] > (page_count or 0)):
        raise MalformedDocument("pages_without_text")
    parsed = ParsedDocument(text, blocks, title, language[:100], page_count, textless, places=places)
    return MediaType(fields["media_type"]), parsed


def _blocks(view: memoryview, count: int, character_count: int) -> tuple[Block, ...]:
    step = count * _NUMBER_BYTES
    columns = [array("i", bytes(view[index * step :][:step])) for index in range(_COLUMN_COUNT)]
    blocks: list[Block] = []
    before = 0
    for kind, start, end, level, page in zip(*columns, strict=True):
        is_in_order = before <= start <= end <= character_count
        if not (is_in_order and 0 <= kind < len(_KINDS) and 0 <= level <= _MAX_LEVEL and page >= _NO_PAGE):
            raise MalformedDocument("block")
        blocks.append(Block(_KINDS[kind], Span(start, end), level, page or None))
        before = end
    return tuple(blocks)


def _places(view: memoryview, count: int, character_count: int, fields: dict[str, Any]) -> TextPlaces | None:
    """Return where the lines stand, on pages that there are; None where the document does not say."""
    if not fields["has_places"]:
        if count:
            raise MalformedDocument("places")
        return None
    step = count * _NUMBER_BYTES
    columns = [array("i", bytes(view[index * step :][:step])) for index in range(_PLACE_COLUMN_COUNT)]
    page_count = fields["page_count"] or 0
    line = (0, 0)
    for start, end, page, left, top, right, bottom in zip(*columns, strict=True):
        is_in_order = (start, end) == line or start >= line[1]
        is_inside = 0 <= left < right <= UNITS and 0 <= top < bottom <= UNITS and 1 <= page <= page_count
        if not (is_in_order and is_inside and start < end <= character_count):
            raise MalformedDocument("place")
        line = (start, end)
    return TextPlaces(*columns)
