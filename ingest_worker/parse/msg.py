"""Outlook messages (MSG, [MS-OXMSG]): headers, the body's text, the names of attachments, as in `eml`."""

from __future__ import annotations

from collections.abc import Iterator

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble, paragraph_blocks
from ingest_worker.parse.compound_file import CompoundFile
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.html import page_of
from ingest_worker.parse.html_blocks import html_blocks
from ingest_worker.parse.limits import require_parts
from ingest_worker.parse.msg_properties import PROPERTIES, Properties
from ingest_worker.parse.rtf import RtfParser
from ingest_worker.parse.rtf_compressed import decompress_rtf
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument
from rag_server.errors import InvalidArgument

_SUBJECT, _CLASS = 0x0037, 0x001A
_SENDER_NAME, _SENDER_ADDRESS, _SENDER_SMTP = 0x0C1A, 0x0C1F, 0x5D01
_FROM_NAME, _FROM_ADDRESS = 0x0042, 0x0065
_TO, _CC, _SENT, _RECEIVED = 0x0E04, 0x0E03, 0x0039, 0x0E06
_BODY, _HTML, _RTF = 0x1000, 0x1013, 0x1009
_LONG_NAME, _SHORT_NAME, _MEDIA_TYPE = 0x3707, 0x3704, 0x370E
_ATTACHMENT = "__attach_version1.0_"
_EMBEDDED = "__substg1.0_3701000D"
_TOP_HEADER, _EMBEDDED_HEADER, _PART_HEADER = 32, 24, 8
"""Bytes before the short properties, [MS-OXMSG] 2.4.1."""
_MAX_LEVEL = 6
_MAX_ATTACHMENTS = 1_000
_MAX_DEPTH = 20
"""Of messages in messages."""
_SHOWN_CHARACTERS = 1_000
_ENCRYPTED_CLASSES = ("ipm.note.smime", "ipm.note.rpmsg")
_SIGNED_CLASS = "multipartsigned"


class MsgParser:
    """Parser of MSG. Attachments are named, not read; messages within the message are read."""

    media_types = frozenset({MediaType.MSG})

    def parse(self, data: bytes) -> ParsedDocument:
        with CompoundFile(data) as file:
            if file.stream(PROPERTIES) is None:
                raise faults.corrupt("is an Outlook message without its properties: damaged")
            reader = _Reader(file)
            top = Properties(file, (), _TOP_HEADER)
            blocks = list(reader.message_blocks(top, (), level=1))
            title = _line(top.text(_SUBJECT))
        if reader.is_encrypted and not reader.has_body:
            raise faults.encrypted()
        if not any(block.text.strip() for block in blocks):
            raise faults.has_no_text("it has no subject, no addresses and no body")
        return assemble(blocks, title=title)


class _Reader:
    """One pass over a message and those within it."""

    def __init__(self, file: CompoundFile) -> None:
        self.has_body = False
        self.is_encrypted = False
        self._file = file
        self._attachment_count = 0

    def message_blocks(
        self, message: Properties, path: tuple[str, ...], *, level: int
    ) -> Iterator[TextBlock]:
        """Yield the blocks of a message: its subject as a heading of `level`, then headers and content."""
        if level > _MAX_DEPTH:
            raise faults.corrupt("nests its messages too deeply")
        yield TextBlock(BlockKind.HEADING, _line(message.text(_SUBJECT)), min(level, _MAX_LEVEL))
        yield TextBlock(BlockKind.PARAGRAPH, "\n".join(_headers(message)))
        kind = message.text(_CLASS).lower()
        if kind.startswith(_ENCRYPTED_CLASSES) and _SIGNED_CLASS not in kind:
            self.is_encrypted = True
        body = _body_blocks(message)
        self.has_body = self.has_body or bool(body)
        yield from body
        yield from self._attachment_blocks(message, path, level)

    def _attachment_blocks(
        self, message: Properties, path: tuple[str, ...], level: int
    ) -> Iterator[TextBlock]:
        """Yield the messages that are attached to one, and the names of what else is."""
        names: list[str] = []
        depth = len(path)
        for found in self._file.paths:
            is_own = len(found) == depth + 1 and found[:depth] == path
            if not is_own or not found[-1].lower().startswith(_ATTACHMENT):
                continue
            self._attachment_count += 1
            require_parts(self._attachment_count, _MAX_ATTACHMENTS, "attachments")
            part = Properties(self._file, found, _PART_HEADER, message.charset)
            embedded = (*found, _EMBEDDED)
            if self._file.stream(*embedded, PROPERTIES) is None:
                name = _line(part.text(_LONG_NAME) or part.text(_SHORT_NAME)) or "unnamed"
                media_type = _line(part.text(_MEDIA_TYPE))
                names.append(f"- {name} ({media_type})" if media_type else f"- {name}")
                continue
            inner = Properties(self._file, embedded, _EMBEDDED_HEADER, message.charset)
            yield from self.message_blocks(inner, embedded, level=level + 1)
        if names:
            yield TextBlock(BlockKind.LIST, "\n".join(["Attachments:", *names]))


def _headers(message: Properties) -> list[str]:
    name = message.text(_FROM_NAME) or message.text(_SENDER_NAME)
    addresses = (message.text(number) for number in (_SENDER_SMTP, _FROM_ADDRESS, _SENDER_ADDRESS))
    address = next((each for each in addresses if "@" in each), "")  # others are names within one company
    sender = f"{name} <{address}>" if name and address and address not in name else name or address
    moment = message.moment(_SENT) or message.moment(_RECEIVED)
    shown = {
        "From": sender,
        "To": message.text(_TO),
        "Cc": message.text(_CC),
        "Date": moment.isoformat(" ") if moment else "",
    }
    return [f"{header}: {line}" for header, value in shown.items() if (line := _line(value))]


def _body_blocks(message: Properties) -> list[TextBlock]:
    """Return the body: its plain text, else its HTML, else its RTF."""
    plain = message.text(_BODY)
    if plain.strip():
        return list(paragraph_blocks(plain.replace("\r\n", "\n").replace("\r", "\n")))
    encoded = message.binary(_HTML)
    source = decode_text(encoded, charset=message.charset) if encoded.strip() else message.text(_HTML)
    try:
        if source.strip():
            body = page_of(source).find("body")
            return html_blocks(body) if body is not None else []
        packed = message.binary(_RTF)
        rtf = decompress_rtf(packed) if packed else b""
        return _rtf_blocks(rtf) if rtf.strip(b"\x00 \r\n") else []
    except InvalidArgument as error:
        if error.reason == "DOCUMENT_HAS_NO_TEXT":  # of the body; the headers have some
            return []
        raise
    except RecursionError as error:
        raise faults.corrupt("nests the elements of its body too deeply") from error


def _rtf_blocks(source: bytes) -> list[TextBlock]:
    parsed = RtfParser().parse(source)
    return [
        TextBlock(block.kind, parsed.text[block.span.start : block.span.end], block.level)
        for block in parsed.blocks
    ]


def _line(text: str) -> str:
    """Return `text` on one line, cut where it is longer than any that is meant to be read."""
    said = " ".join(text.replace("\x00", " ").split())
    return said if len(said) <= _SHOWN_CHARACTERS else f"{said[:_SHOWN_CHARACTERS]} …"
