"""What a parser makes of some bytes, in a form that tests compare."""

from __future__ import annotations

from ingest_worker.parse.protocol import Parser
from rag_server.domain.document import ParsedDocument


def parts(parser: Parser, data: bytes) -> list[tuple[str, int, str]]:
    """Return kind, level and text of each block."""
    return parts_of(parser.parse(data))


def parts_of(parsed: ParsedDocument) -> list[tuple[str, int, str]]:
    """Return kind, level and text of each block of `parsed`."""
    return [(b.kind.value, b.level, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]
