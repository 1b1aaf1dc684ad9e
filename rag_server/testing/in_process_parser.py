"""A `DocumentParser` without processes and without limits, for tests of what comes after parsing."""

from __future__ import annotations

import asyncio

from ingest_worker.parse.detect import detect_media_type
from ingest_worker.parse.language import with_language
from ingest_worker.parse.page_progress import listen
from ingest_worker.parse.pdf import PdfParser
from ingest_worker.parse.records.read import read_records, table_type
from ingest_worker.parse.registry import PARSERS, parse_document, parsers_with
from ingest_worker.sandbox.protocol import PagesDone
from rag_server.domain.document import MediaType, ParsedDocument
from rag_server.domain.records import RecordMapping

_PLACED = parsers_with(PdfParser(page_boxes=True))


class InProcessParser:
    """Reads documents in a thread; what is not trusted belongs into a `ParserPool`."""

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
        """See `DocumentParser.parse`. A thread cannot be killed: cancelled, it works on to its end."""
        loop = asyncio.get_running_loop()

        def report(done: int, total: int) -> None:
            if on_pages is not None:
                loop.call_soon_threadsafe(on_pages, done, total)

        def work() -> tuple[MediaType, ParsedDocument]:
            with listen(report):
                media_type = detect_media_type(data, declared, file_name)
                if records is not None:
                    table = table_type(media_type)
                    return table, with_language(read_records(data, table, records))
                return media_type, with_language(
                    parse_document(data, media_type, _PLACED if page_boxes else PARSERS)
                )

        return await asyncio.to_thread(work)
