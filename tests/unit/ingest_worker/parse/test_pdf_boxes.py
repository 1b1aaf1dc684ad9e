"""Where text stands on the pages of PDFs that are drawn here, so that its places are known."""

from __future__ import annotations

import io

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas

from ingest_worker.parse.pdf import PdfParser
from ingest_worker.parse.pdf_boxes import visible_edges
from rag_server.domain.document import ParsedDocument
from rag_server.domain.page_boxes import UNITS, PageBox
from tests import documents

SIZE = (400, 800)
Texts = list[tuple[float, float, str]]


def drawn(
    texts: Texts, *, rotation: int = 0, crop: tuple[float, float, float, float] | None = None, tilt: float = 0
) -> bytes:
    """Return a PDF of one page of `SIZE` with 12-point texts at (left, bottom), in points."""
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=SIZE)
    for left, bottom, text in texts:
        canvas.saveState()
        canvas.translate(left, bottom)
        canvas.rotate(tilt)
        canvas.drawString(0, 0, text)
        canvas.restoreState()
    canvas.save()
    document = pypdfium2.PdfDocument(target.getvalue())
    page = document[0]
    page.set_rotation(rotation)
    if crop is not None:
        page.set_cropbox(*crop)
    changed = io.BytesIO()
    document.save(changed)
    document.close()
    return changed.getvalue()


def parsed(data: bytes) -> ParsedDocument:
    return PdfParser(page_boxes=True).parse(data)


def lines(document: ParsedDocument) -> list[tuple[str, PageBox]]:
    assert document.places is not None
    return [(document.text[start:end].strip(), box) for start, end, box in document.places.within(0, 1 << 30)]


def is_near(box: PageBox, left: float, top: float, *, tolerance: int = 150) -> bool:
    """Whether the upper left corner is there, as shares of the page; glyphs are smaller than their line."""
    return abs(box.left - left * UNITS) <= tolerance and abs(box.top - top * UNITS) <= tolerance


def test_lines_have_the_place_where_they_were_drawn() -> None:
    ((text, box),) = lines(parsed(drawn([(100, 600, "Herons wait")])))
    assert (text, box.page) == ("Herons wait", 1)
    assert is_near(box, 100 / 400, 1 - 609 / 800)
    assert 50 * UNITS / 400 < box.right - box.left < 80 * UNITS / 400
    assert 8 * UNITS / 800 < box.bottom - box.top < 14 * UNITS / 800


def test_nobody_asking_gets_none() -> None:
    assert PdfParser().parse(drawn([(100, 600, "Herons")])).places is None


@pytest.mark.parametrize(
    ("rotation", "left", "top"),
    # the upper left corner of the text as a reader sees it, turned clockwise
    [
        (0, 0.25, 191 / 800),
        (90, 600 / 800, 100 / 400),
        (180, 1 - 163 / 400, 600 / 800),
        (270, 191 / 800, 1 - 163 / 400),
    ],
)
def test_a_turned_page_counts_as_it_is_seen(rotation: int, left: float, top: float) -> None:
    ((_, box),) = lines(parsed(drawn([(100, 600, "Herons wait")], rotation=rotation)))
    assert is_near(box, left, top, tolerance=250)
    is_upright = box.right - box.left > box.bottom - box.top
    assert is_upright is (rotation in {0, 180})


def test_a_cropped_page_counts_as_it_is_seen() -> None:
    texts = [(150.0, 600.0, "Seen"), (10.0, 300.0, "Cut away"), (90.0, 500.0, "WWWW half")]
    found = dict(lines(parsed(drawn(texts, crop=(100, 200, 300, 700)))))
    assert is_near(found["Seen"], 50 / 200, 91 / 500, tolerance=200)
    assert found["WWWW half"].left == 0
    assert "Cut away" not in found


def test_turned_and_cropped_at_once() -> None:
    ((_, box),) = lines(parsed(drawn([(150, 600, "Seen")], rotation=90, crop=(100, 200, 300, 700))))
    assert is_near(box, 400 / 500, 50 / 200, tolerance=200)


def test_two_halves_of_a_word_in_two_columns_have_two_boxes() -> None:
    document = parsed(drawn([(30, 60, "a hyphen-"), (230, 700, "ated word goes on")]))
    assert document.text == "a hyphenated word goes on"
    boxes = [box for _, box in lines(document)]
    assert len(boxes) == 2
    assert boxes[0].top > boxes[1].bottom
    assert boxes[0].right < boxes[1].left


def test_pages_and_texts_of_lines_are_those_of_the_document() -> None:
    document = parsed(documents.pdf())
    plain = PdfParser().parse(documents.pdf())
    assert (document.text, document.blocks, document.title) == (plain.text, plain.blocks, plain.title)
    found = lines(document)
    assert {box.page for _, box in found} == {1, 2}
    assert next(box.page for text, box in found if text == "The winter") == 2
    said = [text for text, _ in found]
    assert " ".join(said) == " ".join(document.text.split())


def test_lines_keep_their_place_where_the_text_is_normalised() -> None:
    document = parsed(documents.pdf([[("BodyText", "cafe&#769; au lait " * 12), ("BodyText", "The end.")]]))
    assert lines(document)[-1][0] == "The end."
    assert all(text and not text.startswith(" ") for text, _ in lines(document))


def test_a_heading_that_only_the_outline_has_stands_nowhere() -> None:
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=SIZE)
    canvas.bookmarkPage("here")
    canvas.addOutlineEntry("Herons of the river", "here", 0)
    canvas.drawString(50, 700, "They wait.")
    canvas.save()
    document = parsed(target.getvalue())
    assert document.text.startswith("Herons of the river")
    assert [text for text, _ in lines(document)] == ["They wait."]


@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(
        st.tuples(
            st.floats(-200, 600), st.floats(-200, 1000), st.sampled_from(["Heron", "WWW iii", "ñandú."])
        ),
        min_size=1,
        max_size=4,
    ),
    rotation=st.sampled_from([0, 90, 180, 270]),
    crop=st.sampled_from(
        [None, (0, 0, 400, 800), (-50, -50, 500, 900), (100, 100, 101, 101), (50, 300, 390, 500)]
    ),
    tilt=st.sampled_from([0.0, 33.0, 90.0, 180.0]),
)
def test_every_box_lies_in_its_page_and_every_line_in_the_text(
    texts: Texts, rotation: int, crop: tuple[float, float, float, float] | None, tilt: float
) -> None:
    document = parsed(drawn([(50, 400, "Always here"), *texts], rotation=rotation, crop=crop, tilt=tilt))
    assert document.places is not None
    before = (0, 0)
    for start, end, box in document.places.within(0, len(document.text)):  # a box that lies elsewhere raises
        assert box.page == 1
        assert 0 <= start < end <= len(document.text)
        assert start >= before[1] or (start, end) == before
        before = start, end


@given(st.tuples(*[st.floats(-1e9, 1e9)] * 2), st.tuples(*[st.floats(-1e9, 1e9)] * 2))
def test_visible_edges_lie_in_the_page(one: tuple[float, float], other: tuple[float, float]) -> None:
    edges = visible_edges(one, other)
    if edges is None:
        low, high = (tuple(map(choose, zip(one, other, strict=True))) for choose in (min, max))
        assert any(end < 0 for end in high) or any(start >= UNITS for start in low)
    else:
        assert edges == visible_edges(other, one)
        PageBox(1, *edges)
