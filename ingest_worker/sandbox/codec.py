"""A parsed document as bytes, and back, from a process that is not to be trusted.

Not pickle, which runs what it reads; and not JSON for the blocks, of which a few bytes become many
objects. Small fields are a JSON object, the text is UTF-8, and each field of the blocks is a column of
32-bit numbers, as are the pages without text.
"""

from __future__ import annotations

import json
import struct
from array import array
from itertools import pairwise
from typing import Any

from ingest_worker.parse.limits import MAX_CHARACTERS
from rag_server.domain.document import Block, BlockKind, MediaType, ParsedDocument, Span

MAX_BLOCKS = 1_000_000
"""Of one document. A block takes some 200 bytes once it is read, the shortest document with more has only
blocks of 20 characters."""
MAX_PAGES_WITHOUT_TEXT = 100_000
"""Of one document; the first ones are named."""
_MAX_FIELDS_BYTES = 1 << 16
_MAX_TITLE_CHARACTERS = 4096
_MAX_LEVEL = 6
_LENGTHS = struct.Struct(">IIII")
"""Bytes of the fields, bytes of the text, number of blocks, number of pages without text."""
_KINDS = tuple(BlockKind)
_NO_PAGE = 0
_COLUMN_COUNT = 5
_NUMBER_BYTES = array("i").itemsize


class MalformedDocument(ValueError):
    """The bytes are no document that `encode` would write."""


def encode(media_type: MediaType, parsed: ParsedDocument) -> bytes:
    """Return `parsed`, which is of `media_type`, as bytes."""
    fields = {
        "media_type": media_type.value,
        "title": parsed.title[:_MAX_TITLE_CHARACTERS],
        "language": parsed.language,
        "page_count": parsed.page_count,
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
    pieces = [_LENGTHS.pack(len(head), len(text), len(blocks), len(textless)), head, text]
    return b"".join([*pieces, *(array("i", column).tobytes() for column in columns)])


def decode(payload: bytes | bytearray) -> tuple[MediaType, ParsedDocument]:
    """Return what `encode` was given.

    Takes time and memory in proportion to the payload: keep it off the event loop. Raises `MalformedDocument`
    for anything that breaks the promises of `ParsedDocument`.
    """
    view = memoryview(payload)
    try:
        head_length, text_length, block_count, textless_count = _LENGTHS.unpack_from(view)
        columns_at = _LENGTHS.size + head_length + text_length
        textless_at = columns_at + block_count * _COLUMN_COUNT * _NUMBER_BYTES
        is_small = head_length <= _MAX_FIELDS_BYTES and block_count <= MAX_BLOCKS
        is_small = is_small and textless_count <= MAX_PAGES_WITHOUT_TEXT
        if not is_small or textless_at + textless_count * _NUMBER_BYTES != len(view):
            raise MalformedDocument("lengths")
        text = str(view[_LENGTHS.size + head_length : columns_at], "utf-8")
        if len(text) > MAX_CHARACTERS or "\0" in text:
            raise MalformedDocument("text")
        blocks = _blocks(view[columns_at:textless_at], block_count, len(text))
        fields = json.loads(bytes(view[_LENGTHS.size :][:head_length]))
        return _document(fields, text, blocks, tuple(array("i", bytes(view[textless_at:]))))
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedDocument(type(error).__name__) from error


def _document(
    fields: dict[str, Any], text: str, blocks: tuple[Block, ...], textless: tuple[int, ...]
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
    parsed = ParsedDocument(text, blocks, title, language[:100], page_count, textless)
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
