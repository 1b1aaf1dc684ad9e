from __future__ import annotations

import pytest

from ingest_worker.parse.grid import grid_blocks, has_header
from rag_server.domain.document import BlockKind

PARAGRAPH, TABLE = BlockKind.PARAGRAPH, BlockKind.TABLE


def said(rows: list[list[str]]) -> list[tuple[BlockKind, str]]:
    return [(block.kind, block.text) for block in grid_blocks(rows)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["name", "price"], ["x", "1"]], True),
        ([["x", "1"], ["y", "2"]], False),
        ([["x", "$1,200.50"]], False),
        ([["x", "12 %"]], False),
        ([["x", "2024-05-01"]], False),
        ([["city", "2019", "2020"], ["Rome", "5", "6"]], True),
        ([["Rome", "2019"], ["Oslo", "2020"]], False),
        ([["a1", "B-2"]], True),
    ],
)
def test_has_header_tells_names_from_values(rows: list[list[str]], expected: bool) -> None:
    assert has_header(rows) is expected


def test_grid_blocks_rows_of_data_after_a_blank_row_go_on_with_the_table() -> None:
    rows = [["k", "v"], ["a", "1"], ["", ""], ["b", "2"], [], ["K", "V"], ["c", "3"]]
    assert said(rows) == [
        (TABLE, "| k | v |\n| --- | --- |\n| a | 1 |\n| b | 2 |"),
        (TABLE, "| K | V |\n| --- | --- |\n| c | 3 |"),
    ]


def test_grid_blocks_rows_of_one_cell_before_a_table_are_captions() -> None:
    rows = [["Title"], ["as of May"], ["k", "v"], ["a", "1"], [], ["Source: us"]]
    assert said(rows) == [
        (PARAGRAPH, "Title"),
        (PARAGRAPH, "as of May"),
        (TABLE, "| k | v |\n| --- | --- |\n| a | 1 |"),
        (PARAGRAPH, "Source: us"),
    ]


def test_grid_blocks_a_long_column_is_a_table() -> None:
    assert said([["name"], *[[f"n{number}"] for number in range(9)]])[0][0] is TABLE


def test_grid_blocks_of_nothing_are_none() -> None:
    assert said([]) == said([[""], []]) == []


def test_grid_blocks_title_above_the_middle_of_a_table_is_its_caption() -> None:
    rows = [["", "Sales", ""], ["city", "2019", "2020"], ["Rome", "5", "6"]]
    assert said(rows) == [
        (PARAGRAPH, "Sales"),
        (TABLE, "| city | 2019 | 2020 |\n| --- | --- | --- |\n| Rome | 5 | 6 |"),
    ]
    narrow = [["", "2019"], ["Rome", "5"]]
    assert said(narrow) == [(TABLE, "|  | 2019 |\n| --- | --- |\n| Rome | 5 |")]


def test_grid_blocks_header_of_two_rows_becomes_one() -> None:
    rows = [["In CHF", "", "May", ""], ["", "Sales", "gross", "net"], ["North", "5", "6", "7"]]
    header = "| In CHF | Sales | May gross | net |"
    assert said(rows) == [(TABLE, f"{header}\n| --- | --- | --- | --- |\n| North | 5 | 6 | 7 |")]


def test_grid_blocks_first_row_of_text_below_a_header_is_no_header() -> None:
    rows = [["", "name", "city"], ["1st", "Ann", "Rome"], ["2nd", "Bob", "7"]]
    assert said(rows)[0][1].split("\n")[2] == "| 1st | Ann | Rome |"
