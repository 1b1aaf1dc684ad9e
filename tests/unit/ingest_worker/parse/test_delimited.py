from __future__ import annotations

import pytest

from ingest_worker.parse import parse_document
from ingest_worker.parse.delimited import read_rows, sniff_delimiter
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument
from rag_server.errors import InvalidArgument

PARAGRAPH, TABLE = BlockKind.PARAGRAPH, BlockKind.TABLE


def said(parsed: ParsedDocument) -> list[tuple[BlockKind, str]]:
    return [(b.kind, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n3,5;4\n", ";"),
        ("a\tb, c\n1\t2, 3\n", "\t"),
        ("a|b|c\n1|2|3\n", "|"),
        ('"x;y",b\n"z",d\n', ","),
        ("only\none\n", ","),
        ("", ","),
    ],
)
def test_sniff_delimiter_finds_what_makes_rows_alike(text: str, delimiter: str) -> None:
    assert sniff_delimiter(text) == delimiter


@pytest.mark.parametrize("media_type", [MediaType.CSV, MediaType.TSV])
def test_parse_delimited_becomes_a_table_with_its_header(media_type: MediaType) -> None:
    data = b'name;said\r\nAnn;"two\r\nlines; and a | bar"\r\nBob;"a ""quote"""\r\n'
    assert said(parse_document(data, media_type)) == [
        (TABLE, '| name | said |\n| --- | --- |\n| Ann | two lines; and a \\| bar |\n| Bob | a "quote" |')
    ]


def test_parse_delimited_without_header_has_a_blank_one() -> None:
    data = b"1,2.5,x\n2,3.5,y\n"
    assert said(parse_document(data, MediaType.CSV)) == [
        (TABLE, "|  |  |  |\n| --- | --- | --- |\n| 1 | 2.5 | x |\n| 2 | 3.5 | y |")
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932"])
def test_parse_delimited_in_other_encodings_is_read(encoding: str) -> None:
    text = "名前,年齢,住所\n佐藤太郎,30,東京\n三木英子,25,大阪\n髙橋淳,35,名古屋\n"
    assert "三木英子 | 25 | 大阪" in parse_document(text.encode(encoding), MediaType.CSV).text


def test_parse_delimited_caption_and_blank_rows_part_tables() -> None:
    data = b"Report 2023,,\n\na,b,c\nx,1,2\n\ny,3,4\n\nk,v,\nz,5,\n"
    assert said(parse_document(data, MediaType.CSV)) == [
        (PARAGRAPH, "Report 2023"),
        (TABLE, "| a | b | c |\n| --- | --- | --- |\n| x | 1 | 2 |\n| y | 3 | 4 |"),
        (TABLE, "| k | v |\n| --- | --- |\n| z | 5 |"),
    ]


def test_read_rows_quote_that_never_closes_is_text() -> None:
    rows = list(read_rows('a,b\n"5 inch,1\n' + "x,2\n" * 3_000))
    assert rows[1] == ['"5 inch', "1"]
    assert len(rows) == 3_002


def test_read_rows_cell_longer_than_the_default_limit_is_read() -> None:
    assert len(list(read_rows("a,b\nx," + "y" * 300_000))[1][1]) == 300_000


@pytest.mark.parametrize("data", [b",,\n,,\n", b";\n"])
def test_parse_delimited_of_empty_cells_raises_has_no_text(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_document(data, MediaType.CSV)
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"
