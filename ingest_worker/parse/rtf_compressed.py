"""RTF as Outlook stores it: compressed by LZFu, [MS-OXRTFCP] 3.1.3 and 3.2."""

from __future__ import annotations

import struct

from ingest_worker.parse import faults
from ingest_worker.parse.limits import require_encoded
from rag_server.errors import InvalidArgument

_COMPRESSED, _PLAIN = 0x75465A4C, 0x414C454D
_HEADER = struct.Struct("<4I")
_DICTIONARY = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript "
    b"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par "
    b"\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
"""What the window holds at first."""
_WINDOW = 4096
_SHORTEST = 2
"""Bytes of the shortest reference."""


def decompress_rtf(data: bytes) -> bytes:
    """Return the RTF source in `data`.

    Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) and `ResourceExhausted` (`DOCUMENT_TOO_LARGE`).
    """
    if len(data) < _HEADER.size:
        raise _damaged()
    _, raw_size, kind, _ = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if kind == _PLAIN:
        return body[:raw_size]
    if kind != _COMPRESSED:
        raise _damaged()
    require_encoded(raw_size)
    return _inflated(body, raw_size)


def _inflated(body: bytes, raw_size: int) -> bytes:
    """Return what `body` stands for, `raw_size` bytes at the most."""
    written = bytearray(_DICTIONARY)  # the window is its last 4096 bytes, addressed modulo its size
    end = len(_DICTIONARY) + raw_size
    position = 0
    while position < len(body) and len(written) < end:
        control = body[position]
        position += 1
        for bit in range(8):
            if len(written) >= end or position >= len(body):
                break
            if not control >> bit & 1:
                written.append(body[position])
                position += 1
                continue
            if position + 2 > len(body):
                raise _damaged()
            reference = body[position] << 8 | body[position + 1]
            position += 2
            # The offset is one in the window; where it is that of the next byte, the text ends.
            back = (len(written) - (reference >> 4)) % _WINDOW
            if not back:
                return bytes(written[len(_DICTIONARY) :])
            if back > len(written):
                raise _damaged()
            for _ in range((reference & 0xF) + _SHORTEST):
                written.append(written[-back])
    return bytes(written[len(_DICTIONARY) : end])


def _damaged() -> InvalidArgument:
    return faults.corrupt("has a text in compressed RTF that cannot be read: damaged")
