"""docling in the confined processes of the worker, under the limits that hold by default."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import docx
import pytest
import pytest_asyncio
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.pool import ParserPool
from rag_server.domain.document import MediaType
from rag_server.errors import InvalidArgument
from tests.documents import HTML, archive, pdf

pytestmark = pytest.mark.asyncio(loop_scope="module")
_DRAWING = f"""<w:r {nsdecls("w", "wp", "a")}><w:drawing><wp:inline>
<wp:extent cx="1" cy="1"/><wp:docPr id="1" name="d"/><a:graphic><a:graphicData uri="u"/></a:graphic>
</wp:inline></w:drawing></w:r>"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parser() -> AsyncIterator[ParserPool]:
    taken = (MediaType.DOCX.value, MediaType.HTML.value)
    limits = ParserLimits(wall_s=90.0, cpu_s=60.0, docling=taken)
    async with ParserPool(limits, processes=1) as pool:
        yield pool


def document(*, drawing: bool = False) -> bytes:
    made = docx.Document()
    made.add_heading("Keeping bees", 1)
    paragraph = made.add_paragraph("One queen lays all eggs.")
    if drawing:
        paragraph._p.append(parse_xml(_DRAWING))
    target = io.BytesIO()
    made.save(target)
    return target.getvalue()


async def test_docling_reads_what_it_was_given_and_the_process_is_used_again(parser: ParserPool) -> None:
    media_type, parsed = await parser.parse(document())
    assert (media_type, parsed.title) == (MediaType.DOCX, "Keeping bees")
    assert parsed.text == "## Keeping bees\n\nOne queen lays all eggs."  # docling's marks: `#` is a title
    before = parser.pids
    _, parsed = await parser.parse(HTML.encode())
    assert parsed.language == "es"
    assert before & parser.pids


async def test_other_formats_have_their_own_parsers(parser: ParserPool) -> None:
    media_type, parsed = await parser.parse(pdf(), page_boxes=True)
    assert (media_type, parsed.page_count) == (MediaType.PDF, 2)
    assert parsed.places is not None


async def test_a_drawing_that_another_program_would_draw_is_left_out(parser: ParserPool) -> None:
    _, parsed = await parser.parse(document(drawing=True))
    assert parsed.text.endswith("One queen lays all eggs.")


async def test_a_document_that_docling_cannot_read_fails_alone(parser: ParserPool) -> None:
    broken = archive({"[Content_Types].xml": "<Types/>", "word/document.xml": "<nothing/>"})
    with pytest.raises(InvalidArgument) as caught:
        await parser.parse(broken, MediaType.DOCX)
    assert caught.value.reason == "DOCUMENT_CORRUPT"
    _, parsed = await parser.parse(document())
    assert parsed.title == "Keeping bees"
