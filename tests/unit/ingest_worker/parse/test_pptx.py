from __future__ import annotations

import io
import zipfile

import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from ingest_worker.parse import limits, parse_document
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument
from rag_server.errors import InvalidArgument, ResourceExhausted

HEADING, PARAGRAPH, LIST, TABLE = BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.LIST, BlockKind.TABLE
TITLE_AND_CONTENT, TITLE_ONLY, BLANK = 1, 5, 6


def saved(deck: pptx.presentation.Presentation) -> bytes:
    target = io.BytesIO()
    deck.save(target)
    return target.getvalue()


def parse(data: bytes) -> ParsedDocument:
    return parse_document(data, MediaType.PPTX)


def said(data: bytes) -> list[tuple[BlockKind, int | None, str]]:
    parsed = parse(data)
    return [(b.kind, b.page, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]


def test_parse_pptx_slides_are_pages_with_titles_bullets_and_notes() -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[TITLE_AND_CONTENT])
    slide.shapes.title.text = "First slide"
    frame = slide.placeholders[1].text_frame
    frame.text = "outer"
    inner = frame.add_paragraph()
    inner.text, inner.level = "inner", 1
    slide.notes_slide.notes_text_frame.text = "What to say."
    other = deck.slides.add_slide(deck.slide_layouts[TITLE_ONLY])
    other.shapes.title.text = "Second"
    parsed = parse(saved(deck))
    assert said(saved(deck)) == [
        (HEADING, 1, "First slide"),
        (LIST, 1, "- outer\n  - inner"),
        (PARAGRAPH, 1, "What to say."),
        (HEADING, 2, "Second"),
    ]
    assert (parsed.title, parsed.page_count) == ("First slide", 2)


def test_parse_pptx_shapes_are_read_from_the_top_and_groups_as_one() -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[BLANK])

    def box(shapes: pptx.shapes.shapetree.SlideShapes, left: float, top: float, text: str) -> None:
        shapes.add_textbox(Inches(left), Inches(top), Inches(1), Inches(1)).text_frame.text = text

    box(slide.shapes, 1, 5, "bottom")
    box(slide.shapes, 6, 1, "right")
    group = slide.shapes.add_group_shape()
    box(group.shapes, 1, 3.5, "lower in group")
    box(group.shapes, 1, 3, "upper in group")
    box(slide.shapes, 1, 1.1, "left")
    order = ["left", "right", "upper in group", "lower in group", "bottom"]
    assert said(saved(deck)) == [(PARAGRAPH, 1, text) for text in order]


def test_parse_pptx_tables_and_charts_become_rows() -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[BLANK])
    table = slide.shapes.add_table(3, 2, 0, 0, Inches(4), Inches(1)).table
    for (row, column), text in {(0, 0): "k", (0, 1): "v", (1, 0): "both", (1, 1): "1", (2, 1): "2"}.items():
        table.cell(row, column).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    data = CategoryChartData()
    data.categories = ["May", "June"]
    data.add_series("Sales", (1.5, 2))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, Inches(3), Inches(3), Inches(3), data)
    assert said(saved(deck)) == [
        (TABLE, 1, "| k | v |\n| --- | --- |\n| both | 1 |\n| both | 2 |"),
        (TABLE, 1, "|  | Sales |\n| --- | --- |\n| May | 1.5 |\n| June | 2 |"),
    ]


def test_parse_pptx_hidden_slides_are_left_out_but_counted() -> None:
    deck = pptx.Presentation()
    for title in ("shown", "hidden", "shown too"):
        slide = deck.slides.add_slide(deck.slide_layouts[TITLE_ONLY])
        slide.shapes.title.text = title
    deck.slides[1].element.set("show", "0")
    assert said(saved(deck)) == [(HEADING, 1, "shown"), (HEADING, 3, "shown too")]


def test_parse_pptx_without_text_raises_has_no_text() -> None:
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[BLANK])
    with pytest.raises(InvalidArgument) as caught:
        parse(saved(deck))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_parse_pptx_with_a_missing_picture_is_read_without_it() -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[TITLE_ONLY])
    slide.shapes.title.text = "Still here"
    relation = b'<Relationship Id="rId9" Type="http://x/image" Target="../media/none.png"/></Relationships>'
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(deck))) as source, zipfile.ZipFile(target, "w") as changed:
        for name in source.namelist():
            content = source.read(name)
            if name.startswith("ppt/slides/_rels"):
                content = content.replace(b"</Relationships>", relation)
            changed.writestr(name, content)
    assert said(target.getvalue()) == [(HEADING, 1, "Still here")]


@pytest.mark.parametrize("part", ["ppt/presentation.xml", "ppt/slides/slide1.xml", "[Content_Types].xml"])
def test_parse_pptx_with_a_damaged_part_raises_corrupt(part: str) -> None:
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[TITLE_ONLY]).shapes.title.text = "x"
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(deck))) as source, zipfile.ZipFile(target, "w") as changed:
        for name in source.namelist():
            changed.writestr(name, source.read(name)[: 30 if name == part else None])
    with pytest.raises(InvalidArgument) as caught:
        parse(target.getvalue())
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_parse_pptx_of_more_text_than_allowed_raises_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    deck = pptx.Presentation()
    for _ in range(3):
        deck.slides.add_slide(deck.slide_layouts[TITLE_ONLY]).shapes.title.text = "x" * 50
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 120)
    with pytest.raises(ResourceExhausted):
        parse(saved(deck))
