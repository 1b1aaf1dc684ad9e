"""The messages between the worker and a parser process: a kind, a length, a payload.

The child trusts the worker. The worker trusts no child that has read a document: it states how long
each kind of frame may be, and reads nothing longer.
"""

from __future__ import annotations

import asyncio
import io
import struct
from enum import IntEnum

PAGES = struct.Struct(">II")
"""Payload of a frame of kind `PAGES`."""
_HEAD = struct.Struct(">BI")
_SLICE_BYTES = 1 << 18
"""Handed to a pipe at a time, so that no second copy of a large document gathers in its buffer."""


class FrameKind(IntEnum):
    """What a frame holds."""

    READY = 1
    """From the child: it is confined and waits. Empty."""
    REQUEST = 2
    """To the child: JSON with what is known of the document."""
    CONTENT = 3
    """To the child: the document."""
    PAGES = 4
    """From the child: pages done and pages in all, two 32-bit numbers."""
    RESULT = 5
    """From the child: the parsed document (`codec`)."""
    FAILURE = 6
    """From the child: why there is none (`failures`)."""
    RECORDS = 7
    """From the child, before the result of a table that is taken row by row: its records (`record_codec`)."""


class BrokenFrame(Exception):
    """The other side sent what it must not send."""


def write_frame(sink: io.FileIO, kind: FrameKind, payload: bytes) -> None:
    """Write a frame, in the child; blocks until the worker has taken it."""
    for piece in (_HEAD.pack(kind, len(payload)), payload):
        rest = memoryview(piece)
        while rest:
            rest = rest[sink.write(rest) :]


def read_frame(source: io.BufferedReader) -> tuple[FrameKind, bytes] | None:
    """Read a frame, in the child; None once the worker has closed its end."""
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack(head)
    payload = source.read(length)
    return (FrameKind(kind), payload) if len(payload) == length else None


async def send_frame(writer: asyncio.StreamWriter, kind: FrameKind, payload: bytes) -> None:
    """Write a frame, in the worker, as fast as the child takes it. Raises `OSError` once it is gone."""
    writer.write(_HEAD.pack(kind, len(payload)))
    view = memoryview(payload)
    for start in range(0, len(payload), _SLICE_BYTES):
        writer.write(view[start : start + _SLICE_BYTES])
        await writer.drain()
    await writer.drain()


async def receive_head(reader: asyncio.StreamReader) -> tuple[FrameKind, int]:
    """Read the kind and the length of the next frame, in the worker.

    Raises `BrokenFrame` for a kind that there is not, and `asyncio.IncompleteReadError` at the end.
    """
    kind, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    try:
        return FrameKind(kind), length
    except ValueError as error:
        raise BrokenFrame(f"no frame is of kind {kind}") from error
