"""Formats that are not text, by the signature at their start; and the text of those that are."""

from __future__ import annotations

import codecs
import re

import puremagic

from ingest_worker.parse.decoding import decode_text, guess_encoding, has_byte_order_mark, unmarked_utf16
from rag_server.domain.media_type_names import NO_CLAIM

SAMPLE_BYTES = 1 << 16
UNKNOWN = "unknown binary data"
_HEADER_BYTES = 1024
"""Where a PDF's header may stand, ISO 32000-1, annex H, note 13."""
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAX_CONTROL_SHARE = 0.02
_RTF = b"{\\rtf"
_TEXTUAL_SIGNATURES = ((_RTF, "application/rtf"), (b"%!PS", "application/postscript"))
_MIN_SIGNATURE_BYTES = 3


def is_pdf(data: bytes) -> bool:
    """Whether `data` is a PDF, with or without other bytes before its header."""
    if data[:SAMPLE_BYTES].lstrip().startswith(b"%PDF-"):
        return True
    header = data[:_HEADER_BYTES]
    return b"%PDF-" in header and b"%%EOF" in data and b" obj" in data and text_sample(data) is None


def is_rtf(data: bytes) -> bool:
    """Whether `data` is in the Rich Text Format, whose files begin with its version."""
    return data.startswith(_RTF)


def text_sample(data: bytes) -> str | None:
    """Return the start of `data` as text, or None if it is not text."""
    if any(data.startswith(signature) for signature, _ in _TEXTUAL_SIGNATURES):
        return None
    head = data[:SAMPLE_BYTES]
    if has_byte_order_mark(data):
        return decode_text(head[: len(head) // 4 * 4] if len(data) > len(head) else data)
    wide = unmarked_utf16(data) if b"\x00" in head and signature_of(data) == UNKNOWN else ""
    if b"\x00" in head and not wide:
        return None
    try:
        text = codecs.getincrementaldecoder(wide or "utf-8")().decode(head, final=len(data) <= len(head))
    except UnicodeDecodeError:
        encoding = guess_encoding(head) if not wide and signature_of(data) == UNKNOWN else ""
        text = head.decode(encoding, errors="replace") if encoding else "\x00"
    return text if len(_CONTROLS.findall(text)) <= _MAX_CONTROL_SHARE * len(text) else None


def signature_of(data: bytes) -> str:
    """Return the media type, or else the name, of the binary format whose signature `data` carries."""
    for signature, media_type in _TEXTUAL_SIGNATURES:
        if data.startswith(signature):
            return media_type
    try:
        matches = puremagic.magic_string(data)
    except (puremagic.PureError, ValueError):
        return UNKNOWN
    best = next((match for match in matches if _is_telling(match.byte_match or b"")), None)
    if best is None:
        return UNKNOWN
    media_type = str(best.mime_type or "")
    return media_type if media_type not in NO_CLAIM else str(best.name or UNKNOWN)


def _is_telling(signature: bytes) -> bool:
    """Whether `signature` is unlikely by chance: neither short nor one byte over and over."""
    return len(signature) >= _MIN_SIGNATURE_BYTES and len(set(signature)) > 1
