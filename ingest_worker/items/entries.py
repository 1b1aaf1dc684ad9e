"""What is in a ZIP archive, and which of its entries must not be unpacked (PKWARE APPNOTE 6.3).

The directory is looked at first, and nothing is unpacked before it has passed. `zipfile` never yields more of
an entry than the directory declares, so that declared sizes are upper bounds. Nothing is written to a path:
names only name documents. They are checked all the same, since whoever reads them may use them as paths.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ingest_worker.parse import faults
from rag_server.domain.archive import ArchiveBudget
from rag_server.errors import InvalidArgument, RagError, ResourceExhausted

MAX_RATIO = 200
"""Bytes that an entry may unpack to for each that it takes up. Deflate reaches 1 032, logs some 50."""
_MIN_BOMB_BYTES = 1 << 20
"""Smaller entries may have any ratio: blank ones are common, and do no harm."""
_ENTRY_SIGNATURE = b"PK\x01\x02"
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED_FLAG = 0x1
_PIECE_BYTES = 1 << 18
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, NotImplementedError, ValueError)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")
_JUNK = re.compile(r"(?:^|/)(?:__MACOSX/|\.DS_Store$|Thumbs\.db$|desktop\.ini$)")
"""What operating systems put into archives by themselves."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive."""

    name: str
    """Its path, with `/`, printable."""
    info: zipfile.ZipInfo
    fault: RagError | None = None
    """Why it is not unpacked."""
    is_junk: bool = False

    @property
    def is_archive(self) -> bool:
        """Whether it is said to be an archive itself."""
        return self.name.lower().endswith(".zip")


class Archive:
    """An open archive, whose directory has passed."""

    def __init__(self, file: zipfile.ZipFile, entries: tuple[Entry, ...]) -> None:
        self._file = file
        self.entries = entries

    @classmethod
    def open(cls, data: bytes, budget: ArchiveBudget) -> Archive:
        """Read the directory. CPU work of up to a second: call it off the event loop.

        Raises `InvalidArgument`: `DOCUMENT_CORRUPT`, `DOCUMENT_EMPTY` where there are no files,
        `DOCUMENT_ENCRYPTED` where all need a password; and `ResourceExhausted` (`ARCHIVE_TOO_LARGE`).
        """
        # Before the directory is read: an entry of 46 bytes becomes an object of some 600. An archive in this
        # one may be stored as it is, and its entries count, too: hence the room.
        if data.count(_ENTRY_SIGNATURE) > 4 * budget.max_entries + 1000:
            raise _too_many(budget.max_entries)
        try:
            file = zipfile.ZipFile(io.BytesIO(data))
        except _DAMAGE as error:
            raise faults.corrupt("is an archive that cannot be opened: truncated or damaged") from error
        files = [info for info in file.infolist() if not info.is_dir()]
        if len(files) > budget.max_entries:
            raise _too_many(budget.max_entries)
        if sum(info.file_size for info in files) > budget.max_bytes:
            raise ResourceExhausted(
                "ARCHIVE_TOO_LARGE",
                f"the archive unpacks to more than {budget.max_bytes} bytes; split it into several archives",
                metadata={"limit_bytes": str(budget.max_bytes)},
            )
        if not files:
            raise InvalidArgument("DOCUMENT_EMPTY", "the archive is empty: it holds no files")
        if all(info.flag_bits & _ENCRYPTED_FLAG for info in files):
            raise faults.encrypted()
        last = {info.filename: info for info in files}  # of several of one name, the last one counts
        return cls(file, tuple(_entry(info) for info in last.values()))

    def unpack(self, entry: Entry) -> Iterator[bytes]:
        """Yield the content of an entry without a fault in pieces of at most 256 KiB.

        Raises `InvalidArgument` (`DOCUMENT_CORRUPT`, `DOCUMENT_ENCRYPTED`).
        """
        size = 0
        try:
            with self._file.open(entry.info) as stream:
                while piece := stream.read(_PIECE_BYTES):
                    size += len(piece)
                    yield piece
        except (*_DAMAGE, RuntimeError) as error:  # RuntimeError: strong encryption
            raise faults.corrupt("cannot be unpacked: this file of the archive is damaged") from error
        if size != entry.info.file_size:
            raise faults.corrupt("is shorter than the archive declares: truncated or damaged")


def _entry(info: zipfile.ZipInfo) -> Entry:
    name = _UNPRINTABLE.sub("?", info.filename.replace("\\", "/"))
    return Entry(name, info, _fault(name, info), is_junk=bool(_JUNK.search(name)))


def _fault(name: str, info: zipfile.ZipInfo) -> RagError | None:
    kind = stat.S_IFMT(info.external_attr >> 16)  # of archives made on Unix, else 0
    if not name or name.startswith("/") or _DRIVE.match(name) or ".." in name.split("/"):
        return InvalidArgument(
            "ARCHIVE_ENTRY_UNSAFE",
            "the name of the file leads out of the archive: pack it with a relative path",
        )
    if kind not in {0, stat.S_IFREG}:
        return InvalidArgument(
            "ARCHIVE_ENTRY_UNSAFE", "the entry is a link or a device: pack the file that it stands for"
        )
    if info.flag_bits & _ENCRYPTED_FLAG:
        return faults.encrypted()
    if info.compress_type not in _METHODS:
        return faults.corrupt("is packed with a compression other than deflate; pack it again")
    if info.file_size > max(_MIN_BOMB_BYTES, MAX_RATIO * info.compress_size):
        return ResourceExhausted(
            "ARCHIVE_ENTRY_BOMB",
            f"the file unpacks to more than {MAX_RATIO} times what it takes up in the archive; hand it in by "
            "itself if it is a document",
            metadata={"limit_ratio": str(MAX_RATIO)},
        )
    return None


def _too_many(limit: int) -> ResourceExhausted:
    return ResourceExhausted(
        "ARCHIVE_TOO_LARGE",
        f"the archive holds more than {limit} files; split it into several archives",
        metadata={"limit_entries": str(limit)},
    )
