from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ingest_worker.parse.markdown_table import header_end, markdown_table, table_blocks
from rag_server.domain.document import BlockKind

CELLS = st.text("ab |\\\n", max_size=6)


@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=2, max_size=5), named=st.booleans())
def test_markdown_table_is_one_table_whatever_its_cells(rows: list[list[str]], named: bool) -> None:
    source = markdown_table(rows, has_header=named)
    tokens = MarkdownIt("commonmark").enable("table").parse(source)
    assert [token.type for token in tokens if not token.level] == ["table_open", "table_close"]
    body = sum(token.type == "tr_open" for token in tokens)
    assert body == len(rows) + (not named)
    assert source[: header_end(source)].count("\n") == 2


def test_table_blocks_leave_out_empty_rows_and_columns() -> None:
    rows = [["", "a", "", "b"], ["", "", " ", ""], ["", "1", "", ""]]
    assert [block.text for block in table_blocks(rows)] == ["| a | b |\n| --- | --- |\n| 1 |"]


def test_table_blocks_of_a_single_cell_is_a_paragraph_and_of_nothing_nothing() -> None:
    assert [(b.kind, b.text, b.page) for b in table_blocks([["", "x"]], page=3)] == [
        (BlockKind.PARAGRAPH, "x", 3)
    ]
    assert list(table_blocks([["", " "]])) == []
    assert list(table_blocks([])) == []


@pytest.mark.parametrize(
    ("table", "header"),
    [
        ("|a|b|\n|-|-|\n|1|2|", "|a|b|\n|-|-|\n"),
        ("a | b\n:-: | --:\n1 | 2", "a | b\n:-: | --:\n"),
        ("| a |\n| - |\n| 1 |", "| a |\n| - |\n"),
        ("|a|b|\n|-|-|", ""),
        ("a\n---\nb\n", ""),
        ("| - | - |\n| 1 | 2 |\n| 3 | 4 |", ""),
        ("| a | b |\n| 1 | 2 |\n| 3 | 4 |\n| 5 | 6 |", ""),
        ("", ""),
    ],
)
def test_header_end_is_after_the_delimiter_row(table: str, header: str) -> None:
    assert table[: header_end(table)] == header


def test_header_end_of_a_hostile_line_takes_linear_time() -> None:
    assert header_end("a|b\n" + "-|" * 200_000 + "x\ny") == 0
    assert header_end("a|b\n" + " " * 200_000 + "-|x\ny") == 0
