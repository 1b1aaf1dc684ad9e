"""JSON Lines (jsonlines.org): a value on each line, each a section of its own."""

from __future__ import annotations

import io
from collections.abc import Iterator

from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.json import load_json
from ingest_worker.parse.json_values import record_blocks
from rag_server.domain.document import MediaType, ParsedDocument


class JsonLinesParser:
    """Parser of `application/jsonl`. One line is in memory as a value at a time."""

    media_types = frozenset({MediaType.JSONL})

    def parse(self, data: bytes) -> ParsedDocument:
        return assemble(_blocks(decode_text(data)))


def _blocks(source: str) -> Iterator[TextBlock]:
    """Yield the records. Raises `InvalidArgument` (`DOCUMENT_CORRUPT`), naming the line that is not valid."""
    record_number = 0
    for line_number, line in enumerate(io.StringIO(source), start=1):  # parts lines at line feeds only
        if line.strip():
            record_number += 1
            yield from record_blocks(load_json(line, line=line_number), record_number)
