"""Compound files (OLE2, [MS-CFB]): their streams, each read once and within the bounds of the file itself."""

from __future__ import annotations

import io
from types import TracebackType
from typing import Self

import olefile

from ingest_worker.parse import faults
from rag_server.errors import InvalidArgument

DAMAGE = (OSError, ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What olefile raises for a container that is not as it should be."""
_MAX_ENTRIES = 20_000
"""Streams and storages of one file. Large messages have some thousand, documents have tens."""


class CompoundFile:
    """A compound file open for reading. Paths are the names of the storages and the stream, from the root.

    A chain of sectors may lead in a circle, and many streams may be the same sectors: what is read of one
    file is bounded by `2 * len(data)` bytes in all, which an intact file, read once, never comes to.
    """

    def __init__(self, data: bytes) -> None:
        """Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) and `ResourceExhausted` (`DOCUMENT_TOO_LARGE`)."""
        self._room = 2 * len(data)
        try:
            self._file = olefile.OleFileIO(io.BytesIO(data))
            entries = self._file.listdir(streams=True, storages=True)
        except DAMAGE as error:
            raise _damaged() from error
        if len(entries) > _MAX_ENTRIES:
            raise faults.too_many_members(_MAX_ENTRIES)
        self.paths: tuple[tuple[str, ...], ...] = tuple(tuple(entry) for entry in entries)
        """Of the streams and storages, in the order of the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def stream(self, *path: str) -> bytes | None:
        """Return the content of a stream, None where there is none of that name. Names ignore case.

        Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) for one that is shorter than the file says.
        """
        name = list(path)
        try:
            if not self._file.exists(name) or self._file.get_type(name) != olefile.STGTY_STREAM:
                return None
            size = self._file.get_size(name)
            if not 0 <= size <= self._room:
                raise _damaged()
            self._room -= size
            with self._file.openstream(name) as opened:
                content: bytes = opened.read()
        except DAMAGE as error:
            raise _damaged() from error
        if len(content) != size:
            raise faults.corrupt(f"is a compound file whose stream {path[-1][:60]!r} is cut: truncated")
        return content


def _damaged() -> InvalidArgument:
    return faults.corrupt("is a compound file (OLE2) that cannot be read: truncated or damaged")
