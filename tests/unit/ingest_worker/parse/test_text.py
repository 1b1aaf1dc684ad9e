from __future__ import annotations

from ingest_worker.parse.text import TextParser
from rag_server.domain.document import BlockKind


def test_text_blank_lines_part_paragraphs() -> None:
    parsed = TextParser().parse(b"\n  One\r\nmore \n \t\n\n\nTwo\x00\n\n")
    assert [parsed.text[b.span.start : b.span.end] for b in parsed.blocks] == ["One\nmore", "Two"]
    assert {block.kind for block in parsed.blocks} == {BlockKind.PARAGRAPH}
    assert parsed.page_count is None
    assert parsed.title == ""
