from __future__ import annotations

import pytest

from ingest_worker.parse.pdf_layout import Line, blocks_of, join_lines
from rag_server.domain.document import BlockKind


def line(text: str, top: float, *, left: float = 50, size: float = 10) -> Line:
    return Line(text, size, left, top, top)


def texts(*lines: Line) -> list[str]:
    return [block.text for block in blocks_of([lines])]


def test_layout_without_lines_has_no_blocks() -> None:
    assert blocks_of([[], []]) == []


def test_layout_wide_gap_starts_a_paragraph() -> None:
    assert texts(line("a", 700), line("b", 688), line("c", 676), line("d", 650)) == ["a b c", "d"]


def test_layout_indent_after_a_full_stop_starts_a_paragraph() -> None:
    assert texts(line("a.", 700), line("b", 688, left=70)) == ["a.", "b"]
    assert texts(line("a", 700), line("b", 688, left=70)) == ["a b"]


def test_layout_sentence_goes_on_in_the_next_column() -> None:
    assert texts(line("it goes", 100), line("on here", 700, left=300)) == ["it goes on here"]
    assert texts(line("It ends.", 100), line("New", 700, left=300)) == ["It ends.", "New"]


def test_layout_larger_type_makes_headings_by_size() -> None:
    blocks = blocks_of(
        [
            [
                line("Big", 700, size=20),
                line("Mid", 670, size=14),
                line("body " * 20, 650),
                line("Mid2", 600, size=14),
            ]
        ]
    )
    assert [(block.kind, block.level) for block in blocks] == [
        (BlockKind.HEADING, 1),
        (BlockKind.HEADING, 2),
        (BlockKind.PARAGRAPH, 0),
        (BlockKind.HEADING, 2),
    ]


def test_layout_large_sentence_is_no_heading() -> None:
    blocks = blocks_of([[line("A pulled quote, large.", 700, size=20), line("body " * 20, 600)]])
    assert [block.kind for block in blocks] == [BlockKind.PARAGRAPH, BlockKind.PARAGRAPH]


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        (("para-", "graph"), "paragraph"),
        (("Anglo-", "Saxon"), "Anglo- Saxon"),
        (("1-", "two"), "1- two"),
        (("hyphen\x02\nated",), "hyphenated"),
        (("hyphen\ufffeAted",), "hyphen-Ated"),
        (("  spaced   out ", "x"), "spaced out x"),
    ],
)
def test_layout_line_ends_are_joined(lines: tuple[str, ...], joined: str) -> None:
    assert join_lines([line(text, 700) for text in lines]) == joined
