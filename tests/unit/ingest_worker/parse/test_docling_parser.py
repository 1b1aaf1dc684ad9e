"""The adapter with the real docling, in this process; `sandbox/test_docling_pool.py` has it confined."""

from __future__ import annotations

import io
import sys
from typing import Any

import docx
import openpyxl
import pptx
import pytest

from ingest_worker.parse import docling_parser as subject
from ingest_worker.parse import zip_guard
from ingest_worker.parse.docling_parser import DoclingParser, docling_parsers, is_installed
from ingest_worker.parse.registry import PARSERS, parse_document, parsers_with
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument
from rag_server.errors import InvalidArgument, ResourceExhausted

TAKEN = (MediaType.DOCX, MediaType.PPTX, MediaType.XLSX, MediaType.HTML, MediaType.MARKDOWN)
HEADING, PARAGRAPH, LIST, TABLE = BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.LIST, BlockKind.TABLE
HTML = """<html><body><h1>Las abejas</h1><p>Una <b>reina</b> pone huevos &amp; vive a_o_s.</p>
<ul><li>de romero</li><li>de brezo</li></ul>
<table><tr><th>mes</th><th>kilos</th></tr><tr><td>mayo</td><td>12</td></tr></table></body></html>"""


@pytest.fixture(scope="module")
def parsers() -> dict[MediaType, DoclingParser]:
    return {media_type: DoclingParser(media_type) for media_type in TAKEN}


def saved(made: Any) -> bytes:
    target = io.BytesIO()
    made.save(target)
    return target.getvalue()


def said(parsed: ParsedDocument) -> list[tuple[BlockKind, str]]:
    return [(each.kind, parsed.text[each.span.start : each.span.end]) for each in parsed.blocks]


def test_html_becomes_text_and_blocks(parsers: dict[MediaType, DoclingParser]) -> None:
    parsed = parsers[MediaType.HTML].parse(HTML.encode())
    heading, paragraph, bullets, table = said(parsed)
    assert heading == (HEADING, "# Las abejas")
    assert paragraph == (PARAGRAPH, "Una **reina** pone huevos & vive a_o_s.")
    assert bullets == (LIST, "- de romero\n- de brezo")
    assert table[0] is TABLE
    assert [cell.strip() for cell in table[1].splitlines()[2].strip("|").split("|")] == ["mayo", "12"]
    assert (parsed.title, parsed.page_count) == ("Las abejas", None)


def test_docx_becomes_text_and_blocks(parsers: dict[MediaType, DoclingParser]) -> None:
    made = docx.Document()
    made.add_heading("Keeping bees", 1)
    made.add_paragraph("One queen lays all eggs.")
    made.add_heading("The winter", 2)
    made.add_paragraph("La colmena necesita miel.")
    parsed = parsers[MediaType.DOCX].parse(saved(made))
    assert [kind for kind, _ in said(parsed)] == [HEADING, PARAGRAPH, HEADING, PARAGRAPH]
    assert [each.level for each in parsed.blocks if each.kind is HEADING] == sorted(
        each.level for each in parsed.blocks if each.kind is HEADING
    )
    assert parsed.title == "Keeping bees"
    assert "La colmena necesita miel." in parsed.text


def test_slides_are_pages(parsers: dict[MediaType, DoclingParser]) -> None:
    made = pptx.Presentation()
    for title in ("First slide", "Second slide"):
        made.slides.add_slide(made.slide_layouts[5]).shapes.title.text = title
    made.slides.add_slide(made.slide_layouts[6])
    parsed = parsers[MediaType.PPTX].parse(saved(made))
    found = [(each.page, parsed.text[each.span.start : each.span.end]) for each in parsed.blocks]
    assert [(page, text.lstrip("# ")) for page, text in found] == [(1, "First slide"), (2, "Second slide")]
    assert parsed.page_count == 3


def test_sheets_become_tables(parsers: dict[MediaType, DoclingParser]) -> None:
    made = openpyxl.Workbook()
    for row in (["bee", "eggs"], ["queen", 2000]):
        made.worksheets[0].append(row)
    parsed = parsers[MediaType.XLSX].parse(saved(made))
    assert [kind for kind, _ in said(parsed)] == [TABLE]
    assert "2000" in parsed.text


def test_markdown_is_read(parsers: dict[MediaType, DoclingParser]) -> None:
    parsed = parsers[MediaType.MARKDOWN].parse("# Bees\n\nOne queen. ¿Y el néctar?\n".encode())
    assert said(parsed) == [(HEADING, "# Bees"), (PARAGRAPH, "One queen. ¿Y el néctar?")]


@pytest.mark.parametrize("media_type", [MediaType.DOCX, MediaType.PPTX, MediaType.XLSX])
@pytest.mark.parametrize("data", [b"garbage", b"PK\x03\x04 garbage"])
def test_what_is_no_container_is_corrupt(
    parsers: dict[MediaType, DoclingParser], media_type: MediaType, data: bytes
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parsers[media_type].parse(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize("media_type", [MediaType.DOCX, MediaType.PPTX, MediaType.XLSX])
def test_a_container_of_something_else_is_corrupt(
    parsers: dict[MediaType, DoclingParser], media_type: MediaType
) -> None:
    other = openpyxl.Workbook() if media_type is not MediaType.XLSX else docx.Document()
    data = saved(other)
    cut = data.replace(b"[Content_Types].xml", b"[Content_Tipes].xml")
    with pytest.raises(InvalidArgument, match="opened by docling") as caught:
        parsers[media_type].parse(cut)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_a_bomb_is_refused_before_it_is_unpacked(
    parsers: dict[MediaType, DoclingParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_guard, "MAX_TOTAL_BYTES", 100)
    with pytest.raises(ResourceExhausted) as caught:
        parsers[MediaType.DOCX].parse(saved(docx.Document()))
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


def test_a_document_without_text_has_none(parsers: dict[MediaType, DoclingParser]) -> None:
    with pytest.raises(InvalidArgument, match="docling found none") as caught:
        parsers[MediaType.DOCX].parse(saved(docx.Document()))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_more_text_than_a_document_may_have_is_refused(
    parsers: dict[MediaType, DoclingParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest_worker.parse.limits.MAX_CHARACTERS", 20)
    with pytest.raises(ResourceExhausted) as caught:
        parsers[MediaType.HTML].parse(HTML.encode())
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


def test_memory_that_was_refused_is_told_as_that(
    parsers: dict[MediaType, DoclingParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = parsers[MediaType.HTML]

    class Full:
        def __init__(self, *_: object) -> None:
            raise parser._not_loaded("could not load") from MemoryError()

    monkeypatch.setattr(parser, "_reader", Full)
    with pytest.raises(MemoryError):
        parser.parse(HTML.encode())


def test_an_error_of_docling_itself_is_told_without_its_text(
    parsers: dict[MediaType, DoclingParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __init__(self, *_: object) -> None:
            raise ValueError("a secret")

    monkeypatch.setattr(parsers[MediaType.HTML], "_reader", Failing)
    with pytest.raises(InvalidArgument, match="RAG_PARSER__DOCLING") as caught:
        parsers[MediaType.HTML].parse(HTML.encode())
    assert caught.value.reason == "DOCLING_FAILED"
    assert caught.value.metadata == {"media_type": "text/html", "error": "ValueError"}
    assert "secret" not in caught.value.message


def test_nesting_that_is_too_deep_is_told_as_that(
    parsers: dict[MediaType, DoclingParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deep:
        def __init__(self, *_: object) -> None:
            raise RecursionError

    monkeypatch.setattr(parsers[MediaType.HTML], "_reader", Deep)
    with pytest.raises(InvalidArgument, match="too deeply") as caught:
        parsers[MediaType.HTML].parse(HTML.encode())
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_only_the_formats_named_are_taken_over() -> None:
    chosen = parsers_with(*docling_parsers([MediaType.HTML]))
    assert {media_type for media_type in PARSERS if chosen[media_type] is not PARSERS[media_type]} == {
        MediaType.HTML
    }
    assert parse_document(HTML.encode(), MediaType.HTML, chosen).title == "Las abejas"


def test_a_format_that_needs_models_is_not_taken_over() -> None:
    with pytest.raises(KeyError):
        DoclingParser(MediaType.PDF)


def test_the_extra_is_there_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed()
    monkeypatch.setitem(sys.modules, "marko", None)
    assert not is_installed()


def test_hidden_modules_come_back() -> None:
    name = "a_module_that_nobody_has"
    with subject._without(["json", name]):
        assert sys.modules["json"] is not None
        with pytest.raises(ImportError):
            __import__(name)
    assert name not in sys.modules
