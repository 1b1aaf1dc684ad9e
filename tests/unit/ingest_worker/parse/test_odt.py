from __future__ import annotations

import io
import zipfile

import pytest

from ingest_worker.parse import limits, parse_document
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument
from rag_server.errors import InvalidArgument, ResourceExhausted

HEADING, PARAGRAPH, LIST, TABLE = BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.LIST, BlockKind.TABLE
NAMESPACES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in {
        **{name: name for name in ("office", "text", "table", "style", "manifest", "meta")},
        "draw": "drawing",
    }.items()
)
META = "<dc:title>From meta</dc:title><dc:language>de-CH</dc:language>"


def odt(body: str, styles: str = "", *, manifest: str = "", meta: str = "") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text", zipfile.ZIP_STORED)
        archive.writestr(
            "content.xml",
            f"<office:document-content {NAMESPACES}>"
            f"<office:automatic-styles>{styles}</office:automatic-styles>"
            f"<office:body><office:text>{body}</office:text></office:body></office:document-content>",
        )
        archive.writestr(
            "META-INF/manifest.xml", f"<manifest:manifest {NAMESPACES}>{manifest}</manifest:manifest>"
        )
        if meta:
            archive.writestr("meta.xml", f'<m xmlns:dc="http://purl.org/dc/elements/1.1/">{meta}</m>')
    return target.getvalue()


def parse(data: bytes) -> ParsedDocument:
    return parse_document(data, MediaType.ODT)


def said(data: bytes) -> list[tuple[BlockKind, int, str]]:
    parsed = parse(data)
    return [(b.kind, b.level, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]


def p(text: str) -> str:
    return f"<text:p>{text}</text:p>"


def cell(text: str, attributes: str = "") -> str:
    return f"<table:table-cell {attributes}>{p(text)}</table:table-cell>"


def row(*cells: str) -> str:
    return f"<table:table-row>{''.join(cells)}</table:table-row>"


def test_parse_odt_keeps_structure_in_the_order_of_the_body() -> None:
    body = (
        '<text:h text:outline-level="2">A <text:span>head</text:span></text:h>'
        + p('one<text:s text:c="2"/>two<text:tab/>three<text:line-break/>four\n  five')
        + f"<text:list><text:list-item>{p('i')}<text:list>"
        f"<text:list-item>{p('ii')}</text:list-item></text:list>"
        f"</text:list-item><text:list-item>{p('j')}</text:list-item></text:list>"
        + f"<table:table><table:table-header-rows>{row(cell('k'), cell('v'))}</table:table-header-rows>"
        f"{row(cell('a|b'), cell('1'))}</table:table>" + f"<text:section>{p('in a section')}</text:section>"
    )
    assert said(odt(body)) == [
        (HEADING, 2, "A head"),
        (PARAGRAPH, 0, "one  two\tthree\nfour five"),
        (LIST, 0, "- i\n  - ii\n- j"),
        (TABLE, 0, "| k | v |\n| --- | --- |\n| a\\|b | 1 |"),
        (PARAGRAPH, 0, "in a section"),
    ]


def test_parse_odt_numbered_list_carries_its_numbers() -> None:
    style = (
        '<text:list-style style:name="L"><text:list-level-style-number text:level="1" style:num-format="1"/>'
        '<text:list-level-style-bullet text:level="2"/></text:list-style>'
    )
    items = "".join(f"<text:list-item>{p(text)}</text:list-item>" for text in "ab")
    body = (
        f'<text:list text:style-name="L">{items}<text:list-item>'
        f"<text:list>{items}</text:list></text:list-item>"
        "</text:list>"
    )
    assert said(odt(body, style)) == [(LIST, 0, "1. a\n2. b\n  - a\n  - b")]


def test_parse_odt_title_is_of_the_properties_or_the_styled_paragraph() -> None:
    style = '<style:style style:name="P1" style:parent-style-name="Title"/>'
    body = '<text:p text:style-name="P1">Styled title</text:p>' + p("text")
    assert said(odt(body, style))[0] == (HEADING, 1, "Styled title")
    assert parse(odt(body, style)).title == "Styled title"
    parsed = parse(odt(body, style, meta=META))
    assert (parsed.title, parsed.language) == ("From meta", "de-CH")


def test_parse_odt_notes_and_frames_follow_and_comments_and_deletions_are_left_out() -> None:
    body = (
        f"<text:tracked-changes><text:changed-region><text:deletion>{p('deleted')}</text:deletion>"
        "</text:changed-region></text:tracked-changes>"
        + p(
            "claim<text:note><text:note-citation>1</text:note-citation>"
            f"<text:note-body>{p('source')}</text:note-body></text:note>"
            f"<office:annotation>{p('a remark')}</office:annotation>"
            f"<draw:frame><draw:text-box>{p('boxed')}</draw:text-box></draw:frame> goes on"
        )
    )
    assert said(odt(body)) == [
        (PARAGRAPH, 0, "claim[1] goes on"),
        (PARAGRAPH, 0, "boxed"),
        (PARAGRAPH, 0, "[1] source"),
    ]


def test_parse_odt_merged_and_repeated_cells_keep_their_columns() -> None:
    covered = "<table:covered-table-cell/>"
    body = (
        "<table:table>"
        + row(cell("k"), cell("wide", 'table:number-columns-spanned="2"'), covered)
        + row(
            cell("tall", 'table:number-rows-spanned="2"'), cell("same", 'table:number-columns-repeated="2"')
        )
        + row(covered, cell("x"), cell("y"))
        + "</table:table>"
    )
    rows = "| k | wide | wide |\n| --- | --- | --- |\n| tall | same | same |\n| tall | x | y |"
    assert said(odt(body)) == [(TABLE, 0, rows)]


def test_parse_odt_repeated_rows_beyond_the_limit_raise_before_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repeated = row(cell("k"), cell("v")) + row(cell("x" * 1000), cell("y")).replace(
        "<table:table-row>", '<table:table-row table:number-rows-repeated="1000000">'
    )
    data = odt(f"<table:table>{repeated}</table:table>")
    assert 90_000 < len(parse(data).text) < 200_000
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 50_000)
    with pytest.raises(ResourceExhausted):
        parse(data)


def test_parse_odt_with_password_raises_encrypted() -> None:
    manifest = "<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>"
    with pytest.raises(InvalidArgument) as caught:
        parse(odt(p("x"), manifest=manifest))
    assert caught.value.reason == "DOCUMENT_ENCRYPTED"


def test_parse_odt_without_text_raises_has_no_text() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(odt(p("")))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


@pytest.mark.parametrize("data", [odt("<text:p>"), odt(p("x"))[:200], b"PK\x03\x04x"])
def test_parse_odt_damaged_raises_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_parse_odt_nested_beyond_the_limit_raises_corrupt() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(odt("<text:section>" * 5_000 + p("x") + "</text:section>" * 5_000))
    assert caught.value.reason == "DOCUMENT_CORRUPT"
