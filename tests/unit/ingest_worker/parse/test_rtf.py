from __future__ import annotations

import time

import pytest

from ingest_worker.parse import parse_document
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument
from rag_server.errors import InvalidArgument

HEADING, PARAGRAPH, LIST, TABLE = BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.LIST, BlockKind.TABLE
HEAD = (
    r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Arial;}}"
    r"{\stylesheet{\s1\outlinelevel0 heading 1;}}{\info{\author A}{\title The t\'eetle}}"
    "\n"
)


def parse(body: str) -> ParsedDocument:
    return parse_document((HEAD + body + "}").encode("ascii"), MediaType.RTF)


def said(body: str) -> list[tuple[BlockKind, int, str]]:
    parsed = parse(body)
    return [(b.kind, b.level, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]


def test_parse_rtf_paragraphs_headings_and_characters_are_kept() -> None:
    body = (
        r"{\header every page}\pard\s1\outlinelevel1 {A head}\par"
        r"\pard\plain caf\'e9 \u8364?5 {\b bold}\line on\par"
        r'\pard {\field{\*\fldinst{HYPERLINK "https://e.org"}}{\fldrslt{a link}}} ends\par'
    )
    assert said(body) == [
        (HEADING, 2, "A head"),
        (PARAGRAPH, 0, "café €5 bold"),
        (PARAGRAPH, 0, "on"),
        (PARAGRAPH, 0, "a link ends"),
    ]
    assert parse(body).title == "The tîtle"


def test_parse_rtf_tables_become_rows() -> None:
    row = r"\trowd\cellx100\cellx200\pard\intbl %s\cell %s\cell\row "
    body = r"before\par " + row % ("k", "v") + row % (r"a\par b", "1|2") + r"\pard after\par"
    assert said(body) == [
        (PARAGRAPH, 0, "before"),
        (TABLE, 0, "| k | v |\n| --- | --- |\n| a b | 1\\|2 |"),
        (PARAGRAPH, 0, "after"),
    ]


def test_parse_rtf_items_of_a_list_are_one_block() -> None:
    body = r"{\listtext\'b7\tab}first\par {\listtext 2.\tab}second\par \pard text\par"
    assert said(body) == [(LIST, 0, "- first\n2. second"), (PARAGRAPH, 0, "text")]


def test_parse_rtf_without_text_raises_has_no_text() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(r"\pard\par")
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


@pytest.mark.parametrize("data", [b"{\\rtf1 cut", b"no rtf", rb"{\rtf1 \u9999999999 x}", rb"{\rtf1\uc x}"])
def test_parse_rtf_damaged_raises_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_document(data, MediaType.RTF)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_parse_rtf_of_links_that_never_end_takes_linear_time() -> None:
    started = time.monotonic()
    parse(r"{\field{\*\fldinst{ HYPERLINK " * 3_000 + "x" + "}" * 9_000 + " text")
    assert time.monotonic() - started < 5
