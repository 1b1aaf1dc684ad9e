from __future__ import annotations

from ingest_worker.parse.ocr.page_lines import page_lines
from ingest_worker.parse.ocr.recogniser import TextBox
from ingest_worker.parse.pdf_layout import blocks_of
from rag_server.domain.document import BlockKind

SIZE = (500.0, 800.0)


def test_pixels_from_the_top_become_points_from_the_bottom() -> None:
    (line,) = page_lines([TextBox("honey", 200, 100, 400, 140)], 2.0, SIZE)
    assert (line.text, line.left, line.font_size) == ("honey", 100.0, 16.0)
    assert line.boxes == ((2000, 625, 4000, 875),)  # of 1000 x 1600 pixels
    assert line.first_baseline == line.last_baseline == 800 - (140 - 10) / 2


def test_boxes_of_heights_that_vary_with_the_letters_are_of_one_size() -> None:
    boxes = [TextBox("aceno", 0, 50 * n, 300, 50 * n + height) for n, height in enumerate((26, 30, 33, 30))]
    assert {line.font_size for line in page_lines(boxes, 2.0, SIZE)} == {12.0}


def test_larger_type_makes_a_heading_above_its_paragraph() -> None:
    boxes = [TextBox("Keeping bees", 0, 0, 300, 60)]
    boxes += [TextBox(f"line {n} goes on", 0, 100 + 36 * n, 600, 130 + 36 * n) for n in range(3)]
    blocks = blocks_of([page_lines(boxes, 2.0, SIZE)])
    assert [(block.kind, block.text) for block in blocks] == [
        (BlockKind.HEADING, "Keeping bees"),
        (BlockKind.PARAGRAPH, "line 0 goes on line 1 goes on line 2 goes on"),
    ]


def test_boxes_without_letters_or_height_are_left_out() -> None:
    symbols = [TextBox(text, 0, 0, 10, 10) for text in ("", " ", "■", "|-.")]
    assert page_lines([*symbols, TextBox("flat", 0, 5, 10, 5)], 1.0, (100.0, 100.0)) == []
