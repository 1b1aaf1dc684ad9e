"""Builders of documents of old Office versions, for tests: compound files with streams of given content."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_SECTOR, _SMALL, _CUTOFF = 512, 64, 4096


@dataclass
class _Entry:
    name: str
    kind: int
    content: bytes = b""
    children: dict[str, _Entry] = field(default_factory=dict)
    number: int = 0
    right: int = _FREE
    start: int = _END


def compound_file_of(streams: Mapping[str, bytes]) -> bytes:
    """Return a compound file ([MS-CFB], version 3) with `streams` by their paths, parted by `/`."""
    root = _Entry("Root Entry", 5)
    entries = [root]
    for path, content in streams.items():
        parent = root
        *storages, name = path.split("/")
        for storage in storages:
            if storage not in parent.children:
                parent.children[storage] = _Entry(storage, 1)
                entries.append(parent.children[storage])
            parent = parent.children[storage]
        parent.children[name] = _Entry(name, 2, content)
        entries.append(parent.children[name])
    for number, entry in enumerate(entries):
        entry.number = number
    for entry in entries:
        children = sorted(entry.children.values(), key=lambda child: (len(child.name), child.name.upper()))
        for left, right in itertools.pairwise(children):
            left.right = right.number
        entry.children = {child.name: child for child in children}
    fat: list[int] = []
    small_fat: list[int] = []
    sectors = small = b""
    for entry in entries:
        if len(entry.content) >= _CUTOFF:
            entry.start, sectors = _chain(fat, len(entry.content), _SECTOR), sectors + _padded(entry.content)
        elif entry.content:
            entry.start = _chain(small_fat, len(entry.content), _SMALL)
            small += _padded(entry.content, _SMALL)
    root.content = small
    root.start, sectors = _chain(fat, len(small), _SECTOR), sectors + _padded(small)
    table = struct.pack(f"<{len(small_fat)}I", *small_fat)
    small_start, sectors = _chain(fat, len(table), _SECTOR), sectors + _padded(table, fill=b"\xff")
    directory = b"".join(map(_directory_entry, entries))
    directory_start, sectors = _chain(fat, len(directory), _SECTOR), sectors + _padded(directory)
    count = 1
    while count * 128 < len(fat) + count:
        count += 1
    places = list(range(len(fat), len(fat) + count))
    fat += [_FAT] * count
    sectors += struct.pack(f"<{len(fat)}I", *fat).ljust(count * _SECTOR, b"\xff")
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
    header += struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<4I", 0, count, directory_start, 0)
    header += struct.pack("<5I", _CUTOFF, small_start, -(-len(table) // _SECTOR), _END, 0)
    return header + struct.pack("<109I", *places, *[_FREE] * (109 - count)) + sectors


def _chain(table: list[int], size: int, unit: int) -> int:
    """Add the sectors of a stream to an allocation table, and return the first of them."""
    count = -(-size // unit)
    start = len(table)
    table += [*range(start + 1, start + count), _END] if count else []
    return start if count else _END


def _padded(content: bytes, unit: int = _SECTOR, fill: bytes = b"\0") -> bytes:
    return content + fill * (-len(content) % unit)


def _directory_entry(entry: _Entry) -> bytes:
    child = next(iter(entry.children.values())).number if entry.children else _FREE
    name = entry.name.encode("utf-16-le")
    return (
        name.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(name) + 2, entry.kind, 1, _FREE, entry.right, child)
        + bytes(36)
        + struct.pack("<IQ", entry.start, len(entry.content))
    )


@dataclass(frozen=True)
class Said:
    """A paragraph or cell of a Word document: its text ends with its mark."""

    text: str
    style: int = 0
    """1 to 9 for a heading."""
    properties: bytes = b""


IN_TABLE = struct.pack("<HB", 0x2416, 1)
ROW_END = IN_TABLE + struct.pack("<HB", 0x2417, 1)


def cell(text: str) -> Said:
    """Return a cell of a table."""
    return Said(f"{text}\x07", properties=IN_TABLE)


ROW = Said("\x07", properties=ROW_END)
"""What ends a row of a table."""


def word_streams(
    paragraphs: Sequence[Said],
    *,
    wide: bool = False,
    flags: int = 0x0200,
    identity: int = 0xA5EC,
    version: int = 0xC1,
    notes: str = "",
) -> dict[str, bytes]:
    """Return the streams of a Word 97 document; the odd paragraphs are in UTF-16, or all of them if `wide`.

    `notes` is the text of its footnotes.
    """
    text = bytearray(b"\0" * 1024)
    characters = [0]
    pieces: list[bytes] = []
    places: list[int] = []
    for number, said in enumerate([*paragraphs, *([Said(notes)] if notes else [])]):
        is_wide = wide or number % 2 == 1 or not _is_western(said.text)
        text += bytes(len(text) % 2)
        places.append(len(text))
        where = len(text) if is_wide else 2 * len(text) | 1 << 30
        encoded = said.text.encode("utf-16-le" if is_wide else "cp1252")
        characters.append(characters[-1] + (len(encoded) // 2 if is_wide else len(encoded)))
        pieces.append(struct.pack("<HIH", 0, where, 0))
        text += encoded
    end = len(text)
    text += bytes(-len(text) % 512)
    note_count = len(notes)
    index, pages = _paragraph_pages(paragraphs, places, end, len(text) // 512)
    text += pages
    body = struct.pack(f"<{len(characters)}I", *characters) + b"".join(pieces)
    clx = b"\x01\x02\x00ab" + b"\x02" + struct.pack("<I", len(body)) + body
    struct.pack_into("<HH", text, 0, identity, version)
    struct.pack_into("<H", text, 0x0A, flags)
    struct.pack_into("<2i", text, 0x4C, characters[-1] - note_count, note_count)
    struct.pack_into("<2I", text, 0x102, 0, len(index))
    struct.pack_into("<2I", text, 0x1A2, len(index), len(clx))
    return {"WordDocument": bytes(text), "1Table" if flags & 0x0200 else "0Table": index + clx}


def word(*paragraphs: Said | str, **options: object) -> bytes:
    """Return a Word 97 document; a string is a paragraph without its mark. Options as of `word_streams`."""
    said = [Said(f"{each}\r") if isinstance(each, str) else each for each in paragraphs]
    return compound_file_of(word_streams(said, **options))  # type: ignore[arg-type]


def _paragraph_pages(
    paragraphs: Sequence[Said], places: Sequence[int], end: int, first: int
) -> tuple[bytes, bytes]:
    """Return the index of the pages of the paragraphs' properties, and the pages: eight paragraphs each."""
    starts: list[int] = []
    pages = b""
    for at in range(0, len(paragraphs), 8):
        group = paragraphs[at : at + 8]
        page = bytearray(512)
        limits = [
            *places[at : at + len(group)],
            places[at + len(group)] if at + len(group) < len(places) else end,
        ]
        struct.pack_into(f"<{len(limits)}I", page, 0, *limits)
        free = 511
        for number, said in enumerate(group):
            properties = struct.pack("<H", said.style) + said.properties
            if len(properties) % 2:
                encoded = bytes([(len(properties) + 1) // 2]) + properties
            else:
                encoded = bytes([0, len(properties) // 2]) + properties
            free = (free - len(encoded)) // 2 * 2
            page[free : free + len(encoded)] = encoded
            page[4 * len(limits) + 13 * number] = free // 2
        page[511] = len(group)
        starts.append(limits[0])
        pages += page
    numbers = range(first, first + len(starts))
    return struct.pack(f"<{2 * len(starts) + 1}I", *starts, end, *numbers), pages


def outlook_streams(
    texts: Mapping[int, str | bytes],
    numbers: Mapping[tuple[int, int], int] | None = None,
    *,
    path: str = "",
    header_bytes: int = 32,
) -> dict[str, bytes]:
    """Return the streams of a message or a part of one.

    Args:
        texts: By number, properties that are strings, or bytes for those that are binary.
        numbers: By number and type, properties that are numbers or times.
        path: The storage that they are in, with its `/`.
        header_bytes: What comes before the short properties.
    """
    short = b"".join(
        struct.pack("<HHIQ", kind, number, 6, value) for (number, kind), value in (numbers or {}).items()
    )
    streams = {f"{path}__properties_version1.0": bytes(header_bytes) + short}
    for number, value in texts.items():
        kind, encoded = ("0102", value) if isinstance(value, bytes) else ("001F", value.encode("utf-16-le"))
        streams[f"{path}__substg1.0_{number:04X}{kind}"] = encoded
    return streams


def _is_western(text: str) -> bool:
    return text.encode("cp1252", "replace").decode("cp1252") == text
