"""What a parser is."""

from __future__ import annotations

from typing import Protocol

from rag_server.domain.document import MediaType, ParsedDocument


class Parser(Protocol):
    """Turns the bytes of one format into text with blocks.

    Synchronous CPU work, safe to call from several threads at once; callers keep it off the event loop.
    """

    @property
    def media_types(self) -> frozenset[MediaType]:
        """The formats that `parse` reads."""
        ...

    def parse(self, data: bytes) -> ParsedDocument:
        """Return the document in `data`, its text normalised (see `ingest_worker.parse.normalize`).

        Raises `InvalidArgument` with reason `DOCUMENT_CORRUPT`, `DOCUMENT_ENCRYPTED`, `DOCUMENT_HAS_NO_TEXT`
        or `DOCUMENT_EMPTY`, and `ResourceExhausted` with reason `DOCUMENT_TOO_LARGE` where the document has
        more text than `ingest_worker.parse.limits.MAX_CHARACTERS`, before it does anything with that text.
        """
        ...
