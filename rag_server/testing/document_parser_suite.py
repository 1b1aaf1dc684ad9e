"""What every `DocumentParser` must do. Subclass it and provide the fixture `parser`.

class TestParserPool(DocumentParserSuite):
    @pytest.fixture
    async def parser(self): ...
"""

from __future__ import annotations

import asyncio

import pytest

from ingest_worker.sandbox.protocol import DocumentParser
from rag_server.domain.document import BlockKind, MediaType
from rag_server.errors import InvalidArgument

_MARKDOWN = """---
title: Bees
lang: en
---
# The hive

One queen. ¿Y el néctar? 🐝

- lays eggs
- lives long
"""


def one_page_pdf(text: str) -> bytes:
    """Return a PDF that says `text`, in ASCII without brackets, near the middle of its page."""
    drawing = f"BT /F1 12 Tf 100 400 Td ({text}) Tj ET"
    return f"""%PDF-1.4
1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj
2 0 obj << /Type /Pages /Kids [3 0 R] /Count 1 >> endobj
3 0 obj << /Type /Page /Parent 2 0 R /MediaBox [0 0 400 800] /Contents 4 0 R
/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >> endobj
4 0 obj << /Length {len(drawing)} >> stream
{drawing}
endstream endobj
trailer << /Root 1 0 R /Size 5 >>
%%EOF
""".encode()


class DocumentParserSuite:
    """The conformance suite."""

    async def test_parse_answers_format_text_and_blocks(self, parser: DocumentParser) -> None:
        media_type, parsed = await parser.parse(_MARKDOWN.encode())
        assert media_type is MediaType.MARKDOWN
        assert "¿Y el néctar? 🐝" in parsed.text
        said = {block.kind: parsed.text[block.span.start : block.span.end] for block in parsed.blocks}
        assert said[BlockKind.HEADING] == "# The hive"
        assert said[BlockKind.LIST].startswith("- lays eggs")
        assert (parsed.title, parsed.language, parsed.page_count) == ("Bees", "en", None)

    async def test_parse_tells_the_language_of_a_document_that_declares_none(
        self, parser: DocumentParser
    ) -> None:
        text = (
            "Una colmena tiene una reina y hasta sesenta mil obreras en verano, que recogen néctar y polen "
            "de las flores que hay cerca. Con ellos alimentan a las larvas y hacen la miel del invierno."
        )
        _, parsed = await parser.parse(text.encode())
        assert parsed.language == "es"

    async def test_parse_tells_where_lines_of_a_pdf_stand_when_asked(self, parser: DocumentParser) -> None:
        data = one_page_pdf("Herons wait.")
        _, parsed = await parser.parse(data, page_boxes=True)
        assert parsed.places is not None
        ((start, end, box),) = parsed.places.within(0, len(parsed.text))
        assert (parsed.text[start:end], box.page) == ("Herons wait.", 1)
        _, parsed = await parser.parse(data)
        assert parsed.places is None

    async def test_parse_of_a_format_without_pages_tells_no_places(self, parser: DocumentParser) -> None:
        _, parsed = await parser.parse(_MARKDOWN.encode(), page_boxes=True)
        assert parsed.places is None

    async def test_parse_heeds_what_is_declared(self, parser: DocumentParser) -> None:
        media_type, _ = await parser.parse(_MARKDOWN.encode(), "text/plain")
        assert media_type is MediaType.TEXT

    async def test_parse_heeds_the_file_name(self, parser: DocumentParser) -> None:
        media_type, _ = await parser.parse(b"some words", "", "notes.md")
        assert media_type is MediaType.MARKDOWN

    async def test_parse_refused_document_raises_its_reason_with_metadata(
        self, parser: DocumentParser
    ) -> None:
        with pytest.raises(InvalidArgument) as caught:
            await parser.parse(b"just words", "application/pdf")
        assert caught.value.reason == "MEDIA_TYPE_MISMATCH"
        assert caught.value.metadata["detected_media_type"] == "text/plain"
        assert "declared media type" in caught.value.message
        assert not caught.value.is_retryable

    async def test_parse_after_a_refusal_goes_on(self, parser: DocumentParser) -> None:
        with pytest.raises(InvalidArgument):
            await parser.parse(b" \n")
        _, parsed = await parser.parse(b"the next one")
        assert parsed.text == "the next one"

    async def test_parse_several_at_once_mixes_nothing_up(self, parser: DocumentParser) -> None:
        texts = [f"document {number} " * (number + 1) for number in range(8)]
        answers = await asyncio.gather(*(parser.parse(text.encode()) for text in texts))
        assert [parsed.text for _, parsed in answers] == [text.strip() for text in texts]

    async def test_parse_large_document_arrives_whole(self, parser: DocumentParser) -> None:
        text = "\n\n".join(f"Paragraph {number} of a long text." for number in range(40_000))
        _, parsed = await parser.parse(text.encode())
        assert parsed.text == text
        assert len(parsed.blocks) == 40_000  # noqa: PLR2004 - as many as were written
