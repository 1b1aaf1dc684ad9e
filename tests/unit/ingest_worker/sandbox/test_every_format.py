"""Each format read by the parser that the worker uses: confined, in a process of its own."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from types import MappingProxyType
from typing import Any

import docx
import openpyxl
import pptx
import pytest
import pytest_asyncio

from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.pool import ParserPool
from rag_server.domain.document import MediaType
from tests import documents_textual as textual
from tests.documents import HTML, MARKDOWN, archive, pdf
from tests.documents_biff import Number, Sheet
from tests.documents_biff import workbook as old_workbook
from tests.documents_compound import compound_file_of, outlook_streams, word

pytestmark = pytest.mark.asyncio(loop_scope="module")

ODT_NAMESPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text")
)


def saved(made: Any) -> bytes:
    target = io.BytesIO()
    made.save(target)
    return target.getvalue()


def document() -> bytes:
    made = docx.Document()
    made.add_paragraph("One queen lays all eggs.")
    return saved(made)


def workbook() -> bytes:
    made = openpyxl.Workbook()
    made.worksheets[0].append(["bee", "eggs"])
    made.worksheets[0].append(["queen", 2000])
    return saved(made)


def deck() -> bytes:
    made = pptx.Presentation()
    made.slides.add_slide(made.slide_layouts[5]).shapes.title.text = "One queen lays all eggs"
    return saved(made)


def odt() -> bytes:
    content = (
        f"<office:document-content {ODT_NAMESPACES}><office:body><office:text><text:p>One queen."
        "</text:p></office:text></office:body></office:document-content>"
    )
    return archive({"mimetype": MediaType.ODT, "content.xml": content})


SAMPLES: MappingProxyType[MediaType, Callable[[], bytes]] = MappingProxyType(
    {
        MediaType.TEXT: lambda: b"One queen lays all eggs.",
        MediaType.MARKDOWN: MARKDOWN.encode,
        MediaType.HTML: HTML.encode,
        MediaType.PDF: pdf,
        MediaType.DOCX: document,
        MediaType.PPTX: deck,
        MediaType.XLSX: workbook,
        MediaType.DOC: lambda: word("One queen lays all eggs."),
        MediaType.XLS: lambda: old_workbook(Sheet("Bees", [["bee", "eggs"], ["queen", Number(2000)]])),
        MediaType.MSG: lambda: compound_file_of(outlook_streams({0x0037: "Bees", 0x1000: "One queen."})),
        MediaType.ODT: odt,
        MediaType.RTF: lambda: rb"{\rtf1\ansi One queen lays all eggs.}",
        MediaType.EPUB: textual.epub,
        MediaType.EML: lambda: textual.EML,
        MediaType.CSV: lambda: b"bee,eggs\nqueen,2000\n",
        MediaType.TSV: lambda: b"bee\teggs\nqueen\t2000\n",
        MediaType.JSON: lambda: textual.JSON,
        MediaType.JSONL: lambda: textual.JSONL,
        MediaType.XML: lambda: textual.DOCBOOK,
        MediaType.RST: lambda: textual.RST,
        MediaType.ORG: lambda: textual.ORG,
        MediaType.IPYNB: lambda: textual.NOTEBOOK,
    }
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parser() -> AsyncIterator[ParserPool]:
    async with ParserPool(ParserLimits(wall_s=60.0, cpu_s=60.0), processes=1) as pool:
        yield pool


@pytest.mark.parametrize("media_type", MediaType)
async def test_confined_parser_reads_every_format(parser: ParserPool, media_type: MediaType) -> None:
    found, parsed = await parser.parse(SAMPLES[media_type](), media_type)
    assert found is media_type
    assert parsed.blocks
