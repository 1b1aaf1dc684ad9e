"""The format of a document: from its content first, then held against what the caller says."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

import puremagic

from ingest_worker.parse import faults
from ingest_worker.parse.decoding import decode_text, guess_encoding, has_byte_order_mark, unmarked_utf16
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
_UNKNOWN = "unknown binary data"
_MIN_SIGNATURE_BYTES = 3
_ZIP_SIGNATURE = b"PK\x03\x04"
_OFFICE = "application/vnd.openxmlformats-officedocument"
_ZIP_MEMBERS = (  # an archive's directory has the names of its members uncompressed
    (b"word/document.xml", f"{_OFFICE}.wordprocessingml.document"),
    (b"xl/workbook.xml", f"{_OFFICE}.spreadsheetml.sheet"),
    (b"ppt/presentation.xml", f"{_OFFICE}.presentationml.presentation"),
    (b"mimetypeapplication/epub+zip", "application/epub+zip"),
    (b"mimetypeapplication/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
)
# The patterns below meet hostile text: each takes time in proportion to it (atomic groups, bounded repeats).
_HTML_ROOT = re.compile(
    r"(?:<\?xml[^>]*>\s*)?(?>(?:<!--(?>.*?-->)\s*)*)<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
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
        r"\[[^\[\]\n]{1,500}\]\([^()\s]{1,500}\)",
        r"^\|?[ \t]*:?-{3,}:?[ \t]*\|",
        r"^[^\s].*\n(?:={3,}|-{3,})$",
        r"^ {0,3}(?:[-*+]|\d{1,3}\.) +\S.*\n {0,3}(?:[-*+]|\d{1,3}\.) +\S",
        r"\*\*[^\s*][^*\n]*\*\*",
    )
)
_MARKDOWN_SIGN_COUNT = 2
_HEADING_LINE = re.compile(r"#{1,6} +\S")
_CODE_LINE = re.compile(r"\s|[\w.\"'\[\]-]+\s*[:=]|.*[;{}(,\\]$")
"""Indented, a setting with its name first, or one that ends as only code does."""
_MIN_PROSE_SHARE = 0.6
_MIN_PROSE_WORDS = 6
_MIN_SENTENCE_WORDS = 3


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
    wide = unmarked_utf16(data) if b"\x00" in head and _signature(data) == _UNKNOWN else ""
    if b"\x00" in head and not wide:
        return None
    try:
        text = codecs.getincrementaldecoder(wide or "utf-8")().decode(head, final=len(data) <= len(head))
    except UnicodeDecodeError:
        encoding = guess_encoding(head) if not wide and _signature(data) == _UNKNOWN else ""
        text = head.decode(encoding, errors="replace") if encoding else "\x00"
    return text if len(_CONTROLS.findall(text)) <= _MAX_CONTROL_SHARE * len(text) else None


def _signature(data: bytes) -> str:
    """Return the media type, or else the name, of the binary format whose signature `data` carries."""
    for signature, media_type in _TEXTUAL_SIGNATURES:
        if data.startswith(signature):
            return media_type
    if data.startswith(_ZIP_SIGNATURE):
        return next((media_type for member, media_type in _ZIP_MEMBERS if member in data), "application/zip")
    try:
        matches = puremagic.magic_string(data)
    except (puremagic.PureError, ValueError):
        return _UNKNOWN
    best = next((match for match in matches if _is_telling(match.byte_match or b"")), None)
    if best is None:
        return _UNKNOWN
    media_type = str(best.mime_type or "")
    return media_type if media_type not in _NO_CLAIM else str(best.name or _UNKNOWN)


def _is_telling(signature: bytes) -> bool:
    """Whether `signature` is unlikely by chance: neither short nor one byte over and over."""
    return len(signature) >= _MIN_SIGNATURE_BYTES and len(set(signature)) > 1


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
    is_markdown = signs >= _MARKDOWN_SIGN_COUNT or _is_outline(sample)
    return MediaType.MARKDOWN if is_markdown else MediaType.TEXT


def _is_outline(sample: str) -> bool:
    """Whether `sample` is headings with nothing or prose between them, rather than code with comments."""
    lines = [line.rstrip() for line in sample.split("\n") if line.strip()]
    body = [line for line in lines if not _HEADING_LINE.match(line)]
    if len(lines) - len(body) < _MARKDOWN_SIGN_COUNT:
        return False
    return sum(map(_is_prose, body)) >= _MIN_PROSE_SHARE * len(body)


def _is_prose(line: str) -> bool:
    word_count = len(line.split())
    is_sentence = line.endswith((".", "!", "?", "…")) and word_count >= _MIN_SENTENCE_WORDS
    return (is_sentence or word_count >= _MIN_PROSE_WORDS) and not _CODE_LINE.match(line)
