"""The one way in: bytes and their media type become a `ParsedDocument`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

from ingest_worker.parse import faults
from ingest_worker.parse.html import HtmlParser
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.markdown import MarkdownParser
from ingest_worker.parse.office import OFFICE_PARSERS
from ingest_worker.parse.pdf import PdfParser
from ingest_worker.parse.protocol import Parser
from ingest_worker.parse.text import TextParser
from ingest_worker.parse.textual import TEXTUAL_PARSERS
from rag_server.domain.document import MediaType, ParsedDocument

_PAGES: tuple[Parser, ...] = (TextParser(), MarkdownParser(), HtmlParser(), PdfParser())
_PARSERS = (*_PAGES, *TEXTUAL_PARSERS, *OFFICE_PARSERS)
PARSERS = MappingProxyType({media_type: parser for parser in _PARSERS for media_type in parser.media_types})
"""The parser of each supported format; parsers hold no state."""
_VISIBLE = re.compile("[^\\s\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]")
"""Anything but white space, fillers, the blank Braille pattern and variation selectors."""
_INVISIBLE = {"Cc", "Cf"}


def parsers_with(*others: Parser) -> Mapping[MediaType, Parser]:
    """Return `PARSERS` with `others` for their formats."""
    return MappingProxyType(
        {**PARSERS, **{media_type: parser for parser in others for media_type in parser.media_types}}
    )


def parse_document(
    data: bytes, media_type: MediaType, parsers: Mapping[MediaType, Parser] = PARSERS
) -> ParsedDocument:
    """Return the text and blocks of `data`, which is in format `media_type` (see `detect_media_type`).

    Its language is the one that it declares (`language.with_language` tells that of others). CPU work of up
    to seconds: call it off the event loop. Raises `InvalidArgument` with reason
    `DOCUMENT_EMPTY`, `DOCUMENT_CORRUPT`, `DOCUMENT_ENCRYPTED`, `DOCUMENT_HAS_NO_TEXT` or
    `UNSUPPORTED_MEDIA_TYPE`, and `ResourceExhausted` with reason `DOCUMENT_TOO_LARGE`.
    """
    if not data or data.isspace():
        raise faults.empty()
    parser = parsers.get(media_type)
    if parser is None:
        raise faults.unsupported(media_type)
    parsed = parser.parse(data)
    require_characters(len(parsed.text))
    if not _shows_something(parsed.text):
        raise faults.has_no_text("nothing is left of it without markup, control and invisible characters")
    return parsed


def _shows_something(text: str) -> bool:
    """Whether a reader would see anything of `text`: zero-width and other format characters do not count."""
    return any(unicodedata.category(found[0]) not in _INVISIBLE for found in _VISIBLE.finditer(text))
