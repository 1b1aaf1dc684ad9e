"""The model of the extra `ocr`, on pictures of text, confined as in the worker."""

from __future__ import annotations

import pytest

from ingest_worker.parse.ocr.rapid import is_installed
from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.pool import ParserPool
from rag_server.domain.document import BlockKind, MediaType
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests import documents

pytestmark = pytest.mark.skipif(not is_installed(), reason="the extra `ocr` is not installed")

FIRST = [
    (72.0, 72.0, 24.0, "Keeping bees in winter"),
    (72.0, 130.0, 12.0, "A hive holds one queen and up to sixty thousand"),
    (72.0, 146.0, 12.0, "workers in summer, and far fewer in winter."),
]
SECOND = [(72.0, 100.0, 12.0, "La colmena necesita quince kilos de miel, señaló el niño.")]


def pool() -> ParserPool:
    return ParserPool(ParserLimits(cpu_s=20.0, wall_s=20.0, ocr_s=70.0), processes=1)


async def test_scanned_pages_are_read_in_a_confined_process() -> None:
    told: list[int] = []
    data = documents.pdf_of_pictures([FIRST, [], SECOND])
    async with pool() as parser:
        media_type, parsed = await parser.parse(data, on_pages=lambda done, _: told.append(done))
    assert media_type is MediaType.PDF
    assert [
        (block.kind, block.page, parsed.text[block.span.start : block.span.end]) for block in parsed.blocks
    ] == [
        (BlockKind.HEADING, 1, "Keeping bees in winter"),
        (
            BlockKind.PARAGRAPH,
            1,
            "A hive holds one queen and up to sixty thousand workers in summer, and far fewer in winter.",
        ),
        (BlockKind.PARAGRAPH, 3, "La colmena necesita quince kilos de miel, señaló el niño."),
    ]
    assert parsed.title == "Keeping bees in winter"
    assert parsed.pages_without_text == (2,)
    assert told
    assert told == sorted(told)


async def test_pictures_without_text_raise_has_no_text() -> None:
    async with pool() as parser:
        with pytest.raises(InvalidArgument, match="OCR read nothing") as caught:
            await parser.parse(documents.pdf_scanned(1))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


async def test_other_formats_are_read_as_ever() -> None:
    async with pool() as parser:
        _, parsed = await parser.parse(documents.MARKDOWN.encode(), "text/markdown")
    assert parsed.blocks


async def test_too_little_memory_for_the_models_is_said() -> None:
    async with ParserPool(ParserLimits(memory_bytes=450 * 1024**2, ocr_s=60.0), processes=1) as parser:
        with pytest.raises(ResourceExhausted) as caught:
            await parser.parse(documents.pdf_of_pictures([FIRST]))
    assert caught.value.reason == "DOCUMENT_PARSER_OUT_OF_MEMORY"
