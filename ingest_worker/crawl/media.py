"""Which answers of a web server are worth reading."""

from __future__ import annotations

import mimetypes
from email.message import Message

import httpx

from ingest_worker.crawl.results import SkipReason
from rag_server.domain.document import MediaType

_HTML = frozenset({MediaType.HTML.value, "application/xhtml+xml"})
_UNDECLARED = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/unknown"})
_DOCUMENTS = frozenset(media_type.value for media_type in MediaType) | {
    "application/x-pdf",
    "text/x-markdown",
    "text/xml",
    "text/rtf",
    "application/x-ndjson",
}
_SUFFIXES = {
    ".md": MediaType.MARKDOWN,
    ".docx": MediaType.DOCX,
    ".pptx": MediaType.PPTX,
    ".xlsx": MediaType.XLSX,
    ".odt": MediaType.ODT,
    ".epub": MediaType.EPUB,
    ".rtf": MediaType.RTF,
    ".jsonl": MediaType.JSONL,
    ".rst": MediaType.RST,
    ".org": MediaType.ORG,
    ".ipynb": MediaType.IPYNB,
}
_KNOWN_TYPES = mimetypes.MimeTypes()  # Python's own table: not that of the machine
for _suffix, _type in _SUFFIXES.items():
    _KNOWN_TYPES.add_type(_type.value, _suffix)


def declared_type(headers: httpx.Headers) -> tuple[str, str]:
    """Return media type and charset of `Content-Type`, in lower case; empty where there is none."""
    message = Message()
    message["content-type"] = headers.get("content-type", "").replace("\n", " ").replace("\r", " ")
    charset = message.get_param("charset", "")
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type, charset.strip().lower() if isinstance(charset, str) else ""


def effective_type(declared: str, path: str) -> str:
    """Return the declared media type, or where that says nothing, what the path's ending stands for."""
    if declared not in _UNDECLARED:
        return declared
    guess = _KNOWN_TYPES.guess_type(f"http://host{path}")[0] or ""
    return guess or declared or MediaType.HTML.value


def is_html(media_type: str) -> bool:
    """Whether it is a page, whose links are followed."""
    return media_type in _HTML


def refusal(media_type: str, *, include_documents: bool) -> SkipReason | None:
    """Return why content of this type is not taken, or None."""
    if is_html(media_type):
        return None
    if media_type not in _DOCUMENTS:
        return SkipReason.UNSUPPORTED_MEDIA_TYPE
    return None if include_documents else SkipReason.DOCUMENTS_NOT_INCLUDED
