"""FAISS indexes in files, with a trailer that tells whether they are whole.

FAISS trusts what it reads: of a mapped file that was cut short it reads past the end, and the process dies.
So nothing gets that far whose length or checksum does not fit.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

import faiss

_TRAILER: Final = struct.Struct("<8sQI")
"""Magic, bytes before the trailer, their CRC-32."""
_MAGIC: Final = b"RAGINDEX"
_BLOCK_BYTES: Final = 1 << 22


class CorruptIndex(ValueError):
    """A file is not the index that it should be: cut short, overwritten, or of another kind."""


def write_index(index: Any, path: Path) -> None:
    """Write `index` to `path`, over what was there. Raises `OSError`."""
    path.touch()  # raises what FAISS would call a RuntimeError
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise OSError(f"{path.name}: not written") from error
    with path.open("r+b") as file:
        length = path.stat().st_size
        checksum = _checksum(file, length)
        file.seek(length)
        file.write(_TRAILER.pack(_MAGIC, length, checksum))


def read_index(path: Path, *, is_mapped: bool) -> Any:
    """Return the index in `path`; `is_mapped`: its arrays stay in the file, which must then not change.

    Reads the whole file once, also where it is mapped: at about a gigabyte a second.

    Raises:
        CorruptIndex: The file is something else, or was altered.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        length = path.stat().st_size - _TRAILER.size
        if length < 0:
            raise CorruptIndex(f"{path.name}: cut short")
        file.seek(length)
        magic, written, checksum = _TRAILER.unpack(file.read(_TRAILER.size))
        if magic != _MAGIC or written != length:
            raise CorruptIndex(f"{path.name}: no index, or cut short")
        file.seek(0)
        if _checksum(file, length) != checksum:
            raise CorruptIndex(f"{path.name}: altered")
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if is_mapped else 0)
    except (RuntimeError, MemoryError) as error:  # written by another version of FAISS
        raise CorruptIndex(f"{path.name}: not read by this version of FAISS") from error


def _checksum(file: BinaryIO, length: int) -> int:
    checksum = 0
    while length > 0 and (block := file.read(min(_BLOCK_BYTES, length))):
        checksum = zlib.crc32(block, checksum)
        length -= len(block)
    return checksum
