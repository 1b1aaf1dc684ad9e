"""The one way in: bytes and their media type become a `ParsedDocument`."""

from __future__ import annotations

from types import MappingProxyType

from ingest_worker.parse import faults
from ingest_worker.parse.html import HtmlParser
from ingest_worker.parse.markdown import MarkdownParser
from ingest_worker.parse.pdf import PdfParser
from ingest_worker.parse.protocol import Parser
from ingest_worker.parse.text import TextParser
from rag_server.domain.document import MediaType, ParsedDocument

_PARSERS: tuple[Parser, ...] = (TextParser(), MarkdownParser(), HtmlParser(), PdfParser())
PARSERS = MappingProxyType({media_type: parser for parser in _PARSERS for media_type in parser.media_types})
"""The parser of each supported format; parsers hold no state."""


def parse_document(data: bytes, media_type: MediaType) -> ParsedDocument:
    """Return the text and blocks of `data`, which is in format `media_type` (see `detect_media_type`).

    CPU work of up to seconds: call it off the event loop. Raises `InvalidArgument` with reason
    `DOCUMENT_EMPTY`, `DOCUMENT_CORRUPT`, `DOCUMENT_ENCRYPTED` or `DOCUMENT_HAS_NO_TEXT`.
    """
    if not data.strip():
        raise faults.empty()
    parsed = PARSERS[media_type].parse(data)
    if not parsed.blocks:
        raise faults.has_no_text("nothing is left of it without markup and control characters")
    return parsed
