"""What the ingest pipeline asks of whatever parses documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rag_server.domain.document import MediaType, ParsedDocument
from rag_server.domain.records import RecordMapping

PagesDone = Callable[[int, int], None]
"""Told how many pages are done, and of how many. Called on the event loop, a few times a second at most."""


class DocumentParser(Protocol):
    """Finds out the format of a document and reads it."""

    async def parse(
        self,
        data: bytes,
        declared: str = "",
        file_name: str = "",
        *,
        on_pages: PagesDone | None = None,
        records: RecordMapping | None = None,
        page_boxes: bool = False,
    ) -> tuple[MediaType, ParsedDocument]:
        """Return the format of `data` and what a reader would read in it.

        Args:
            data: The whole document.
            declared: The media type that came with it, empty where none did.
            file_name: Its name, empty where it has none.
            on_pages: Where to report progress; formats without pages report none.
            records: How to take the rows of a table, each by itself; None: read it as a document.
            page_boxes: Whether to find out where on its pages the text stands (`ParsedDocument.places`).

        A caller that is cancelled leaves no work behind.

        Raises:
            InvalidArgument: what `detect_media_type`, and `parse_document` or `read_records`, raise.
            ResourceExhausted: `DOCUMENT_TOO_LARGE`, `DOCUMENT_PARSER_TIMEOUT` and
                `DOCUMENT_PARSER_OUT_OF_MEMORY`, all final; `PARSERS_BUSY`, which says when to come back.
            Internal: `DOCUMENT_PARSER_CRASHED`, final.
            Unavailable: `PARSERS_UNAVAILABLE` and `SERVER_STOPPING`.
        """
        ...
