from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import docx
import pytest
from docx.document import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from ingest_worker.parse import limits, parse_document
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument
from rag_server.errors import InvalidArgument, ResourceExhausted

HEADING, PARAGRAPH, LIST, TABLE = BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.LIST, BlockKind.TABLE
W = nsdecls("w")


def saved(document: Document) -> bytes:
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def made(build: Callable[[Document], object]) -> bytes:
    document = docx.Document()
    build(document)
    return saved(document)


def parse(data: bytes) -> ParsedDocument:
    return parse_document(data, MediaType.DOCX)


def said(data: bytes) -> list[tuple[BlockKind, int, str]]:
    parsed = parse(data)
    return [(b.kind, b.level, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]


def with_part(data: bytes, change: dict[str, Callable[[bytes], bytes]]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as changed:
        for name in source.namelist():
            changed.writestr(name, change.get(name, lambda content: content)(source.read(name)))
    return target.getvalue()


def body_of(xml: str) -> bytes:
    def build(document: Document) -> None:
        document.element.body.insert(0, parse_xml(xml))

    return made(build)


def test_parse_docx_keeps_structure_in_the_order_of_the_body() -> None:
    def build(document: Document) -> None:
        document.add_heading("The title", 0)
        document.add_heading("First", 1)
        document.add_paragraph("A paragraph.")
        document.add_paragraph("one", "List Bullet")
        document.add_paragraph("nested", "List Bullet 2")
        document.add_paragraph("two", "List Bullet")
        document.add_heading("Second", 2)
        table = document.add_table(2, 2)
        for cell, text in zip(table._cells, ("Name", "Size", "a|b", "two\nlines"), strict=True):
            cell.text = text
        document.add_paragraph("After it.")

    assert said(made(build)) == [
        (HEADING, 1, "The title"),
        (HEADING, 1, "First"),
        (PARAGRAPH, 0, "A paragraph."),
        (LIST, 0, "- one\n- nested\n- two"),
        (HEADING, 2, "Second"),
        (TABLE, 0, "| Name | Size |\n| --- | --- |\n| a\\|b | two lines |"),
        (PARAGRAPH, 0, "After it."),
    ]
    assert parse(made(build)).title == "The title"


def test_parse_docx_numbered_lists_carry_their_numbers_and_nesting() -> None:
    level = "".join(
        f'<w:lvl w:ilvl="{n}"><w:start w:val="1"/><w:numFmt w:val="{f}"/><w:lvlText w:val="{t}"/></w:lvl>'
        for n, (f, t) in enumerate((("decimal", "%1."), ("lowerLetter", "%2)"), ("upperRoman", "%1.%3")))
    )

    def build(document: Document) -> None:
        numbering = document.part.numbering_part.element
        numbering.insert(0, parse_xml(f'<w:abstractNum {W} w:abstractNumId="77">{level}</w:abstractNum>'))
        numbering.append(parse_xml(f'<w:num {W} w:numId="78"><w:abstractNumId w:val="77"/></w:num>'))
        for text, depth in (("a", 0), ("b", 1), ("c", 1), ("d", 0), ("e", 1), ("f", 2)):
            properties = document.add_paragraph(text)._p.get_or_add_pPr()
            properties.append(
                parse_xml(f'<w:numPr {W}><w:ilvl w:val="{depth}"/><w:numId w:val="78"/></w:numPr>')
            )

    assert said(made(build)) == [(LIST, 0, "1. a\n  a) b\n  b) c\n2. d\n  a) e\n    2.I f")]


@pytest.mark.parametrize(
    ("name", "level"), [("Überschrift 2", 2), ("Título 3", 3), ("heading 9", 6), ("Titel", 1), ("Quote", 0)]
)
def test_parse_docx_heading_styles_are_known_in_other_languages(name: str, level: int) -> None:
    def build(document: Document) -> None:
        style = document.styles.add_style("mine", WD_STYLE_TYPE.PARAGRAPH)
        style.element.name_val = name
        document.add_paragraph("Said", style=style)

    assert said(made(build)) == [(HEADING if level else PARAGRAPH, level, "Said")]


def test_parse_docx_outline_level_makes_a_heading_of_any_paragraph() -> None:
    data = body_of(f'<w:p {W}><w:pPr><w:outlineLvl w:val="1"/></w:pPr><w:r><w:t>Outlined</w:t></w:r></w:p>')
    assert said(data) == [(HEADING, 2, "Outlined")]


def test_parse_docx_tracked_changes_show_what_was_inserted_only() -> None:
    data = body_of(
        f'<w:p {W}><w:r><w:t xml:space="preserve">kept </w:t></w:r>'
        '<w:ins w:id="1" w:author="a"><w:r><w:t>added</w:t></w:r></w:ins>'
        '<w:del w:id="2" w:author="a"><w:r><w:delText>gone</w:delText></w:r></w:del>'
        '<w:moveFrom w:id="3" w:author="a"><w:r><w:t>moved away</w:t></w:r></w:moveFrom>'
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r></w:p>"
    )
    assert said(data) == [(PARAGRAPH, 0, "kept added")]


def test_parse_docx_hyperlinks_breaks_fields_and_formulas_read_as_text() -> None:
    math = "http://schemas.openxmlformats.org/officeDocument/2006/math"
    data = body_of(
        f'<w:p {W} xmlns:m="{math}"><w:hyperlink w:anchor="x"><w:r><w:t>a link</w:t></w:r></w:hyperlink>'
        "<w:r><w:br/><w:t>new</w:t><w:tab/><w:t>tab</w:t></w:r>"
        '<w:r><w:fldChar w:fldCharType="begin"/><w:instrText>PAGE 7</w:instrText></w:r>'
        "<m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>"
        "</m:oMath></w:p>"
    )
    assert said(data) == [(PARAGRAPH, 0, "a link\nnew\ttab(a+b)/2")]


def test_parse_docx_text_box_follows_its_paragraph_once() -> None:
    mc = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    box = "<w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent>"
    data = body_of(
        f'<w:p {W} xmlns:mc="{mc}"><w:r><w:t>anchor</w:t></w:r><w:r><mc:AlternateContent>'
        f'<mc:Choice Requires="wps">{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>'
        "</mc:AlternateContent></w:r></w:p>"
    )
    assert said(data) == [(PARAGRAPH, 0, "anchor"), (PARAGRAPH, 0, "boxed")]


def test_parse_docx_merged_cells_and_nested_tables_keep_every_row_readable() -> None:
    def build(document: Document) -> None:
        table = document.add_table(3, 3)
        table.cell(0, 1).merge(table.cell(0, 2)).text = "wide"
        table.cell(1, 0).merge(table.cell(2, 0)).text = "tall"
        table.cell(0, 0).text = "head"
        table.cell(1, 1).text = "x"
        table.cell(2, 1).text = "y"
        inner = table.cell(2, 2).add_table(2, 2)
        for cell, text in zip(inner._cells, "abcd", strict=True):
            cell.text = text

    assert said(made(build)) == [
        (
            TABLE,
            0,
            "| head | wide | wide |\n| --- | --- | --- |\n| tall | x |\n| tall | y | a, b; c, d |",
        )
    ]


def test_parse_docx_table_of_one_cell_is_a_frame_around_its_blocks() -> None:
    def build(document: Document) -> None:
        cell = document.add_table(1, 1).cell(0, 0)
        cell.text = "first"
        cell.add_paragraph("Inside", "Heading 2")

    assert said(made(build)) == [(PARAGRAPH, 0, "first"), (HEADING, 2, "Inside")]


def test_parse_docx_headers_and_footers_are_left_out() -> None:
    def build(document: Document) -> None:
        document.sections[0].header.paragraphs[0].text = "on every page"
        document.sections[0].footer.paragraphs[0].text = "page 1"
        document.add_paragraph("body")

    assert said(made(build)) == [(PARAGRAPH, 0, "body")]


def test_parse_docx_footnotes_follow_their_paragraph_and_comments_are_left_out() -> None:
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"

    def build(document: Document) -> None:
        paragraph = document.add_paragraph("claim")
        run = paragraph.add_run()
        document.add_comment(run, "a remark")
        run._r.append(parse_xml(f'<w:footnoteReference {W} w:id="2"/>'))
        document.add_paragraph("next")

    relation = f'<Relationship Id="rIdN" Type="{kind}" Target="footnotes.xml"/></Relationships>'.encode()
    data = with_part(
        made(build),
        {"word/_rels/document.xml.rels": lambda content: content.replace(b"</Relationships>", relation)},
    )
    target = io.BytesIO(data)
    with zipfile.ZipFile(target, "a") as archive:
        note = '<w:footnote w:id="2"><w:p><w:r><w:t>its source</w:t></w:r></w:p></w:footnote>'
        archive.writestr("word/footnotes.xml", f"<w:footnotes {W}>{note}</w:footnotes>")
    assert said(target.getvalue()) == [
        (PARAGRAPH, 0, "claim[1]"),
        (PARAGRAPH, 0, "[1] its source"),
        (PARAGRAPH, 0, "next"),
    ]


def test_parse_docx_in_strict_namespaces_reads_as_in_transitional_ones() -> None:
    def strict(content: bytes) -> bytes:
        for family in (b"wordprocessingml", b"officeDocument"):
            content = content.replace(
                b"http://schemas.openxmlformats.org/" + family + b"/2006/",
                b"http://purl.oclc.org/ooxml/" + family + b"/",
            )
        return content

    data = made(lambda document: document.add_heading("Strictly", 1))
    names = ("word/document.xml", "word/styles.xml", "_rels/.rels", "word/_rels/document.xml.rels")
    assert said(with_part(data, dict.fromkeys(names, strict))) == [(HEADING, 1, "Strictly")]


def test_parse_docx_without_text_raises_has_no_text() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(made(lambda document: None))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"PK\x03\x04 nothing",
        lambda data: with_part(data, {"word/document.xml": lambda content: content[:-40]}),
        lambda data: with_part(data, {"word/document.xml": lambda content: b"<other/>"}),
        lambda data: with_part(data, {"_rels/.rels": lambda content: b"<Relationships/>"}),
        lambda data: with_part(
            data,
            {"word/document.xml": lambda c: b'<!DOCTYPE a [<!ENTITY b "bbb">]><a>&b;</a>'},
        ),
    ],
    ids=["truncated", "no archive", "cut xml", "no body", "no main part", "entities"],
)
def test_parse_docx_damaged_raises_corrupt(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(damage(made(lambda document: document.add_paragraph("x"))))
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_parse_docx_merged_cells_of_more_text_than_allowed_raise_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand rows that repeat one merged cell are a thousand times its text."""

    def build(document: Document) -> None:
        table = document.add_table(100, 2)
        table.cell(0, 0).merge(table.cell(99, 0)).text = "x" * 1000
        table.cell(5, 1).text = "y"

    data = made(build)
    assert len(parse(data).text) > 90_000
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 50_000)
    with pytest.raises(ResourceExhausted) as caught:
        parse(data)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"
