"""Plain text: paragraphs are what blank lines separate."""

from __future__ import annotations

from ingest_worker.parse.assembly import paragraphs
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.normalize import normalize
from rag_server.domain.document import MediaType, ParsedDocument


class TextParser:
    """Parser of `text/plain`. It claims no headings: nothing in the format says what is one."""

    media_types = frozenset({MediaType.TEXT})

    def parse(self, data: bytes) -> ParsedDocument:
        text = normalize(decode_text(data)).rstrip()
        return ParsedDocument(text, tuple(paragraphs(text, 0, len(text))))
