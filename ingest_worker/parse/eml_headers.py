"""Headers of e-mail: bounded where they are read, decoded (RFC 2047) where they are shown."""

from __future__ import annotations

import binascii
from email import errors
from email.header import decode_header, make_header
from email.message import Message
from email.policy import Compat32

from ingest_worker.parse import faults

_MAX_HEADER_CHARACTERS = 4_096
"""Kept of one header: the library takes time that grows with the square of the number of its parameters."""
_SHOWN_CHARACTERS = 1_000
_MAX_MULTIPARTS = 200
"""The library compares each line with the boundaries of all parts around it."""


class BoundedHeaders(Compat32):
    """Policy for the parsing of one message from a stranger; it counts, so take a new one for each."""

    _multipart_count = 0

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        """Return name and value of a header, cut to a bound. Raises `InvalidArgument` for absurd nesting."""
        kept: list[str] = []
        room = _MAX_HEADER_CHARACTERS
        for line in sourcelines:
            if room <= 0:
                break
            kept.append(line[:room])
            room -= len(line)
        if ":" not in kept[0]:  # a name without end
            return "", ""
        name, value = super().header_source_parse(kept)
        if name.lower() == "content-type" and value.lstrip()[:10].lower().startswith("multipart/"):
            object.__setattr__(self, "_multipart_count", self._multipart_count + 1)
            if self._multipart_count > _MAX_MULTIPARTS:
                raise faults.corrupt("nests its parts too deeply")
        return name, value

    def header_fetch_parse(self, name: str, value: str) -> str:
        """Return the value of a header; bytes beyond ASCII are text in UTF-8, or else in cp1252."""
        del name
        raw = value.encode("ascii", "surrogateescape")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("cp1252", "replace")


def header(message: Message, name: str) -> str:
    """Return the header `name` on one line, its encoded words decoded; empty where there is none."""
    raw = str(message.get(name, ""))[:_MAX_HEADER_CHARACTERS]
    try:
        decoded = str(make_header(decode_header(raw)))
    except (
        errors.MessageError,
        LookupError,
        ValueError,
        binascii.Error,
    ):  # an unknown charset, broken base64
        decoded = raw
    said = " ".join(decoded.split())
    return said if len(said) <= _SHOWN_CHARACTERS else f"{said[:_SHOWN_CHARACTERS]} …"
