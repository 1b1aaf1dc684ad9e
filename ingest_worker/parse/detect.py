"""The format of a document: from its content first, then held against what the caller says."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

import puremagic

from ingest_worker.parse import faults
from ingest_worker.parse.decoding import decode_text, guess_encoding, has_byte_order_mark
from rag_server.domain.document import MediaType

_ALIASES = {
    "text/x-markdown": MediaType.MARKDOWN,
    "text/md": MediaType.MARKDOWN,
    "application/markdown": MediaType.MARKDOWN,
    "application/xhtml+xml": MediaType.HTML,
    "application/x-pdf": MediaType.PDF,
    **{media_type.value: media_type for media_type in MediaType},
}
_NO_CLAIM = {"", "application/octet-stream", "binary/octet-stream", "application/unknown", "unknown/unknown"}
_SUFFIXES = {
    ".txt": MediaType.TEXT,
    ".text": MediaType.TEXT,
    ".md": MediaType.MARKDOWN,
    ".markdown": MediaType.MARKDOWN,
    ".mdown": MediaType.MARKDOWN,
    ".html": MediaType.HTML,
    ".htm": MediaType.HTML,
    ".xhtml": MediaType.HTML,
    ".pdf": MediaType.PDF,
}
_SAMPLE_BYTES = 1 << 16
_HEADER_BYTES = 1024
"""Where a PDF's header may stand, ISO 32000-1, annex H, note 13."""
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAX_CONTROL_SHARE = 0.02
_TEXTUAL_SIGNATURES = ((b"{\\rtf", "application/rtf"), (b"%!PS", "application/postscript"))
_HTML_ROOT = re.compile(
    r"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_HTML_START = re.compile(
    r"<(?:p|div|h[1-6]|ul|ol|table|article|section|main|header|title|meta)\b[^<>]*>", re.IGNORECASE
)
_HTML_TAG = re.compile(
    r"</?(?:p|div|h[1-6]|ul|ol|li|table|tr|td|a|span|br|article|section|body|html)\b[^<>]*>", re.IGNORECASE
)
_MARKDOWN_SIGNS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^#{1,6} +\S",
        r"\A\s*#{1,6} +\S.*\n[ \t]*\n",
        r"^(?:```|~~~)",
        r"\[[^\]\n]+\]\([^)\s]+\)",
        r"^\|?[ :-]*-{3,}[ :-]*\|",
        r"^[^\s].*\n(?:={3,}|-{3,})$",
        r"^ {0,3}(?:[-*+]|\d{1,3}\.) +\S.*\n {0,3}(?:[-*+]|\d{1,3}\.) +\S",
        r"\*\*[^\s*][^*\n]*\*\*",
    )
)
_MARKDOWN_SIGN_COUNT = 2


def detect_media_type(data: bytes, declared: str = "", file_name: str = "") -> MediaType:
    """Return the format of `data`.

    Args:
        data: The whole document.
        declared: The media type that came with it, parameters allowed; empty where none did.
        file_name: Its name; a claim only where `declared` makes none.

    PDF and HTML are known by their content. Between HTML fragments, Markdown and plain text, which no
    signature parts, the claim decides; a claim of HTML for text without any markup yields plain text.

    Raises:
        InvalidArgument: `DOCUMENT_EMPTY`; `UNSUPPORTED_MEDIA_TYPE` for a declaration or content outside the
            supported formats; `MEDIA_TYPE_MISMATCH` where a supported claim and the content disagree.
    """
    if not data.strip():
        raise faults.empty()
    claim, claimed_by = _claim(declared, file_name)
    if _is_pdf(data):
        if claim not in {None, MediaType.PDF}:
            raise faults.mismatch(str(claim), MediaType.PDF, claimed_by)
        return MediaType.PDF
    sample = _text_sample(data)
    if sample is None:
        detected = _signature(data)
        if claim is not None:
            raise faults.mismatch(claim, detected, claimed_by)
        raise faults.unsupported(detected)
    if claim is MediaType.PDF:
        raise faults.mismatch(claim, _textual_type(sample, None), claimed_by)
    return _textual_type(sample, claim)


def _claim(declared: str, file_name: str) -> tuple[MediaType | None, str]:
    """Return what the caller says the format is, and where it says so."""
    named = declared.partition(";")[0].strip().lower()
    if named in _NO_CLAIM:
        suffix = PurePosixPath(file_name.replace("\\", "/")).suffix.lower()
        return _SUFFIXES.get(suffix), "file name"
    if named not in _ALIASES:
        raise faults.unsupported(f"declared as {named[:100]}")
    return _ALIASES[named], "declared media type"


def _is_pdf(data: bytes) -> bool:
    if data.lstrip().startswith(b"%PDF-"):
        return True
    header = data[:_HEADER_BYTES]
    return b"%PDF-" in header and b"%%EOF" in data and b" obj" in data and _text_sample(data) is None


def _text_sample(data: bytes) -> str | None:
    """Return the start of `data` as text, or None if it is not text."""
    if any(data.startswith(signature) for signature, _ in _TEXTUAL_SIGNATURES):
        return None
    head = data[:_SAMPLE_BYTES]
    if has_byte_order_mark(data):
        return decode_text(head[: len(head) // 4 * 4] if len(data) > len(head) else data)
    if b"\x00" in head:
        return None
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=len(data) <= len(head))
    except UnicodeDecodeError:
        encoding = guess_encoding(head) if _signature(data) == "unknown binary data" else ""
        text = head.decode(encoding, errors="replace") if encoding else "\x00"
    return text if len(_CONTROLS.findall(text)) <= _MAX_CONTROL_SHARE * len(text) else None


def _signature(data: bytes) -> str:
    """Return the media type, or else the name, of the binary format whose signature `data` carries."""
    for signature, media_type in _TEXTUAL_SIGNATURES:
        if data.startswith(signature):
            return media_type
    try:
        matches = puremagic.magic_string(data)
    except (puremagic.PureError, ValueError):
        return "unknown binary data"
    best = next((match for match in matches if len(match.byte_match or b"") > 1), None)
    if best is None:
        return "unknown binary data"
    return str(best.mime_type or best.name or "unknown binary data")


def _textual_type(sample: str, claim: MediaType | None) -> MediaType:
    """Return which of the three textual formats `sample` is; `claim` settles what the content leaves open."""
    start = sample.lstrip("\ufeff \t\r\n")
    if _HTML_ROOT.match(start):
        return MediaType.HTML
    if claim is MediaType.HTML:
        return MediaType.HTML if _HTML_TAG.search(sample) else MediaType.TEXT
    if claim is not None:
        return claim
    if _HTML_START.match(start) and _HTML_TAG.search(start, 1):
        return MediaType.HTML
    sample = sample.replace("\r\n", "\n")
    signs = sum(bool(sign.search(sample)) for sign in _MARKDOWN_SIGNS)
    return MediaType.MARKDOWN if signs >= _MARKDOWN_SIGN_COUNT else MediaType.TEXT
