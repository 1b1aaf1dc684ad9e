"""E-mail (RFC 5322 and MIME, RFC 2045 to 2049): headers, the body's text, the names of attachments."""

from __future__ import annotations

import codecs
import email
from collections.abc import Iterator
from email.message import Message

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble, paragraph_blocks
from ingest_worker.parse.decoding import decode_text, has_byte_order_mark, unmarked_utf16
from ingest_worker.parse.eml_headers import BoundedHeaders, header
from ingest_worker.parse.html import page_of
from ingest_worker.parse.html_blocks import html_blocks
from ingest_worker.parse.limits import require_parts
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument
from rag_server.errors import InvalidArgument

_MAX_PARTS = 10_000
_MAX_LEVEL = 6
_SHOWN_HEADERS = ("From", "To", "Cc", "Date")
_STATEFUL_CHARSETS = ("iso2022", "hz", "utf-7")
"""Text in these is valid ASCII as well, so that only the declaration tells them apart from it."""
_PGP_START = "-----BEGIN PGP MESSAGE-----"


class EmailParser:
    """Parser of `message/rfc822`. Attachments are named, not read; messages within the message are read."""

    media_types = frozenset({MediaType.EML})

    def parse(self, data: bytes) -> ParsedDocument:
        try:
            message = email.message_from_bytes(_as_ascii_superset(data), policy=BoundedHeaders())
            if not any(
                header(message, name) for name in (*_SHOWN_HEADERS, "Subject", "Received", "Message-ID")
            ):
                raise faults.corrupt("has none of the headers of an e-mail")
            reader = _Reader()
            blocks = list(reader.message_blocks(message, level=1))
        except RecursionError as error:
            raise faults.corrupt("nests its parts too deeply") from error
        if reader.is_encrypted and not reader.has_body:
            raise faults.encrypted()
        return assemble(blocks, title=header(message, "Subject"), language=_language(message))


class _Reader:
    """One pass over the parts of a message."""

    def __init__(self) -> None:
        self.has_body = False
        self.is_encrypted = False
        self._part_count = 0

    def message_blocks(self, message: Message, *, level: int) -> Iterator[TextBlock]:
        """Yield the blocks of `message`: its subject as a heading of `level`, then headers and content."""
        yield TextBlock(BlockKind.HEADING, header(message, "Subject"), min(level, _MAX_LEVEL))
        shown = [f"{name}: {value}" for name in _SHOWN_HEADERS if (value := header(message, name))]
        yield TextBlock(BlockKind.PARAGRAPH, "\n".join(shown))
        attachments: list[str] = []
        yield from self._part_blocks(message, level, attachments)
        if attachments:
            yield TextBlock(BlockKind.LIST, "\n".join(["Attachments:", *attachments]))

    def _part_blocks(self, part: Message, level: int, attachments: list[str]) -> Iterator[TextBlock]:
        self._part_count += 1
        require_parts(self._part_count, _MAX_PARTS, "parts")
        media_type = part.get_content_type()
        if media_type == "multipart/encrypted" or _is_enveloped(part, media_type):
            self.is_encrypted = True
        elif media_type == "message/rfc822" and part.is_multipart():
            for message in _parts(part):
                yield from self.message_blocks(message, level=level + 1)
        elif media_type == "multipart/alternative":
            yield from self._alternative_blocks(part, level, attachments)
        elif part.is_multipart() and media_type.startswith("multipart/"):
            for child in _parts(part):
                yield from self._part_blocks(child, level, attachments)
        elif _is_attachment(part, media_type):
            attachments.append(f"- {_file_name(part) or 'unnamed'} ({media_type})")
        elif isinstance(part.get_payload(), str):
            yield from self._text_blocks(part, media_type)

    def _alternative_blocks(self, part: Message, level: int, attachments: list[str]) -> Iterator[TextBlock]:
        """Yield the blocks of the first alternative with text; plain text comes before all others."""
        plain_first = sorted(_parts(part), key=lambda child: child.get_content_type() != "text/plain")
        for child in plain_first:
            blocks = list(self._part_blocks(child, level, attachments))
            if any(block.text.strip() for block in blocks):
                yield from blocks
                return

    def _text_blocks(self, part: Message, media_type: str) -> Iterator[TextBlock]:
        text = _decoded(part)
        if text.lstrip().startswith(_PGP_START):
            self.is_encrypted = True
            return
        if media_type == "text/html":
            blocks = _html_blocks(text)
        else:
            is_flowed = str(part.get_param("format", "")).lower() == "flowed"
            blocks = list(paragraph_blocks(_unflowed(text) if is_flowed else text.replace("\r\n", "\n")))
        self.has_body = self.has_body or bool(blocks)
        yield from blocks


def _as_ascii_superset(data: bytes) -> bytes:
    """Return a message that was saved as UTF-16 or with a byte order mark in the form that mail has."""
    if has_byte_order_mark(data) or unmarked_utf16(data):
        return decode_text(data).encode()
    return data.lstrip(b"\r\n\t ")


def _parts(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def _is_enveloped(part: Message, media_type: str) -> bool:
    if media_type not in {"application/pkcs7-mime", "application/x-pkcs7-mime"}:
        return False
    return str(part.get_param("smime-type", "")).lower() in {"", "enveloped-data", "authenveloped-data"}


def _is_attachment(part: Message, media_type: str) -> bool:
    if part.get_content_disposition() == "attachment" or not media_type.startswith("text/"):
        return True
    return media_type not in {"text/plain", "text/html"} and bool(_file_name(part))


def _file_name(part: Message) -> str:
    try:
        name = part.get_filename() or ""
    except (LookupError, ValueError, TypeError):  # an unknown charset or a mixture of encodings
        return ""
    return " ".join(name.split())


def _decoded(part: Message) -> str:
    """Return the text of a part, of which the charset that it declares is the first guess only."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload.strip():
        return ""
    charset = _charset(part)
    if charset.startswith(_STATEFUL_CHARSETS):
        try:
            return payload.decode(charset)
        except (UnicodeDecodeError, LookupError):
            pass  # the declaration is wrong: what else it may be is found below
    return decode_text(payload, charset=charset)


def _charset(part: Message) -> str:
    """Return the name of the declared charset, or nothing where there is none of that name."""
    try:
        return codecs.lookup(part.get_content_charset() or "").name
    except (LookupError, ValueError, TypeError):
        return ""


def _html_blocks(source: str) -> list[TextBlock]:
    try:
        body = page_of(source).find("body")
        return html_blocks(body) if body is not None else []
    except InvalidArgument as error:
        if error.reason == "DOCUMENT_HAS_NO_TEXT":  # of this part; others may have some
            return []
        raise


def _unflowed(text: str) -> str:
    """Join the lines of `format=flowed` text (RFC 3676): a space at a line's end says that it goes on."""
    lines: list[list[str]] = []
    depth_above, is_open = 0, False
    for line in text.replace("\r\n", "\n").split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        content = line[depth:].removeprefix(" ")
        is_signature = content == "-- "
        if is_open and depth == depth_above and not is_signature:
            lines[-1].append(content)
        else:
            lines.append([f"{'>' * depth} {content}" if depth else content])
        depth_above, is_open = depth, content.endswith(" ") and not is_signature
    return "\n".join("".join(pieces).rstrip() for pieces in lines)


def _language(message: Message) -> str:
    declared = header(message, "Content-Language").partition(",")[0].strip()
    return declared if declared.replace("-", "").isalnum() and declared.isascii() else ""
