from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from reportlab.pdfgen.canvas import Canvas

from ingest_worker.parse.pdf import PdfParser, page_ranges
from ingest_worker.parse.pdf_layout import Bookmark, Line
from ingest_worker.parse.pdf_outline import place_bookmarks
from rag_server.errors import InvalidArgument
from tests.unit.ingest_worker.parse.block_texts import parts_of

Entry = tuple[str, int, int, float | None]


def outlined(pages: Sequence[Sequence[tuple[float, str]]], entries: Sequence[Entry]) -> bytes:
    """Return a PDF of (bottom, text) lines with bookmarks (title, level from 0, page from 0, top)."""
    target = io.BytesIO()
    canvas = Canvas(target)
    for number, page in enumerate(pages):
        for title, level, where, top in entries:
            if where == number:
                if top is None:
                    canvas.bookmarkPage(title)
                else:
                    canvas.bookmarkHorizontalAbsolute(title, top)
                canvas.addOutlineEntry(title, title, level)
        if not page:
            canvas.rect(50, 50, 300, 300, fill=1)
        for bottom, text in page:
            canvas.drawString(100, bottom, text)
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def test_pdf_bookmarks_make_headings_of_the_lines_that_they_name() -> None:
    pages = [
        [(700, "1 The hive"), (686, "holds one queen."), (672, "Food"), (658, "is jelly.")],
        [(700, "Winter")],
    ]
    data = outlined(pages, [("The Hive", 0, 0, 712), ("Food", 1, 0, 684), ("Winter", 0, 1, None)])
    assert parts_of(PdfParser().parse(data)) == [
        ("heading", 1, "1 The hive"),
        ("paragraph", 0, "holds one queen."),
        ("heading", 2, "Food"),
        ("paragraph", 0, "is jelly."),
        ("heading", 1, "Winter"),
    ]


def test_pdf_bookmark_without_its_line_is_put_where_it_points_to() -> None:
    data = outlined([[(700, "before."), (600, "after.")]], [("Chapter", 0, 0, 650)])
    parsed = PdfParser().parse(data)
    assert parts_of(parsed) == [
        ("paragraph", 0, "before."),
        ("heading", 1, "Chapter"),
        ("paragraph", 0, "after."),
    ]
    assert {block.page for block in parsed.blocks} == {1}


def test_pdf_bookmarks_that_say_nothing_are_left_out() -> None:
    entries: list[Entry] = [(title, 0, 0, None) for title in ("Page 1", "12", "_Toc123", "report.pdf", "  ")]
    assert parts_of(PdfParser().parse(outlined([[(700, "text.")]], entries))) == [("paragraph", 0, "text.")]


def line(text: str, bottom: float) -> Line:
    return Line(text, 12, 100, bottom, bottom)


def test_place_bookmarks_of_two_lines_that_say_the_same_takes_the_nearer_one() -> None:
    page = [line("Bees", 780), line("x", 700), line("Bees", 500), line("y", 480)]
    [placed] = place_bookmarks([page], [Bookmark("Bees", 1, 0, 512)])
    assert [bool(each.bookmark) for each in placed] == [False, False, True, False]


def test_place_bookmarks_heading_over_two_lines_is_one() -> None:
    page = [line("Keeping bees in", 700), line("the winter", 686), line("They eat.", 670)]
    bookmark = Bookmark("2. Keeping bees in the winter", 1, 0, None)
    [placed] = place_bookmarks([page], [bookmark])
    assert [each.bookmark for each in placed] == [bookmark, bookmark, None]


def test_place_bookmarks_same_title_twice_marks_two_lines_or_adds_one() -> None:
    two = [Bookmark("Bees", 1, 0, None), Bookmark("Bees", 2, 0, None)]
    [placed] = place_bookmarks([[line("Bees", 700), line("Bees", 600)]], two)
    assert [each.bookmark and each.bookmark.level for each in placed] == [1, 2]
    [placed] = place_bookmarks([[line("Bees", 700)]], two)
    assert len(placed) == 2


def test_place_bookmarks_to_pages_without_text_adds_nothing() -> None:
    assert place_bookmarks([[]], [Bookmark("Bees", 1, 0, None), Bookmark("Far", 1, 9, None)]) == [[]]


def test_pdf_pages_without_text_are_named_and_blank_ones_are_not() -> None:
    data = outlined([[(700, "one")], [], [(700, "  ")], [], [(700, "five")]], [])
    assert PdfParser().parse(data).pages_without_text == (2, 4)


@pytest.mark.parametrize(
    ("pages", "said"),
    [([[], []], "none of its 2 pages"), ([[], [(1, " ")], []], "scanned: 1, 3"), ([[(1, " ")]], "blank")],
)
def test_pdf_without_text_says_which_pages_are_scanned(
    pages: list[list[tuple[float, str]]], said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said) as caught:
        PdfParser().parse(outlined(pages, []))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


@pytest.mark.parametrize(
    ("numbers", "said"),
    [([3], "3"), ([1, 2, 3, 7, 9, 10], "1-3, 7, 9-10"), (range(1, 400, 2), "99 and more")],
)
def test_page_ranges_are_short(numbers: Sequence[int], said: str) -> None:
    assert page_ranges(numbers).endswith(said)
