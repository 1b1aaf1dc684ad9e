"""Properties of an Outlook message, [MS-OXMSG] 2.1 and 2.4: each in its stream, the short ones in one."""

from __future__ import annotations

import codecs
import struct
from datetime import UTC, datetime, timedelta

from ingest_worker.parse.compound_file import CompoundFile
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.limits import require_encoded

PROPERTIES = "__properties_version1.0"
_ENTRY = struct.Struct("<HHI8s")
_UNICODE, _BYTES, _BINARY, _LONG, _TIME = "001F", "001E", "0102", 0x0003, 0x0040
_CODE_PAGES = (0x3FFD, 0x3FDE)
"""Of the message's strings, and of its body as it came over the Internet."""
_UTF8, _ASCII = 65001, 20127
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


class Properties:
    """The properties of a message, a recipient or an attachment: of the storage `path` of a file."""

    def __init__(
        self, file: CompoundFile, path: tuple[str, ...], header_bytes: int, charset: str = ""
    ) -> None:
        """Take the storage, and how many bytes come before the short properties.

        `charset` is of the strings that are not in Unicode, where no property tells it.
        """
        self._file = file
        self._path = path
        self._short: dict[tuple[int, int], bytes] = {}
        content = (file.stream(*path, PROPERTIES) or b"")[header_bytes:]
        for kind, number, _, value in _ENTRY.iter_unpack(content[: len(content) // 16 * 16]):
            self._short[number, kind] = value
        self.charset = next(filter(None, (_codec(self.long(number)) for number in _CODE_PAGES)), charset)
        """Name of a codec, or empty."""

    def text(self, number: int) -> str:
        """Return a property that is a string, empty where there is none."""
        wide = self._file.stream(*self._path, _name(number, _UNICODE))
        if wide is not None:
            require_encoded(len(wide))
            return wide.decode("utf-16-le", "replace").rstrip("\x00")
        narrow = (self._file.stream(*self._path, _name(number, _BYTES)) or b"").rstrip(b"\x00")
        return decode_text(narrow, charset=self.charset) if narrow.strip() else ""

    def binary(self, number: int) -> bytes:
        """Return a property that is bytes, empty where there is none."""
        return self._file.stream(*self._path, _name(number, _BINARY)) or b""

    def long(self, number: int) -> int:
        """Return a property that is a number, 0 where there is none."""
        return int.from_bytes(self._short.get((number, _LONG), b"")[:4], "little", signed=True)

    def moment(self, number: int) -> datetime | None:
        """Return a property that is a time, None where there is none or one that no calendar has."""
        ticks = int.from_bytes(self._short.get((number, _TIME), b""), "little")
        try:
            return (_EPOCH + timedelta(microseconds=ticks // 10)).replace(microsecond=0) if ticks else None
        except OverflowError:
            return None


def _name(number: int, kind: str) -> str:
    return f"__substg1.0_{number:04X}{kind}"


def _codec(page: int) -> str:
    """Return the codec of a Windows code page, empty where there is none."""
    if page == _UTF8:
        return "utf-8"
    try:
        return codecs.lookup(f"cp{page}").name if page > 0 and page != _ASCII else ""
    except LookupError:
        return ""
