from __future__ import annotations

import time

import pytest

from ingest_worker.parse.org import OrgParser
from rag_server.errors import InvalidArgument
from tests.documents_textual import ORG
from tests.unit.ingest_worker.parse.block_texts import parts


def found(source: str) -> list[tuple[str, int, str]]:
    return parts(OrgParser(), source.encode())


def test_org_document_yields_blocks_of_each_kind() -> None:
    assert parts(OrgParser(), ORG) == [
        ("paragraph", 0, "Author: Jane Doe"),
        ("heading", 1, "The hive"),
        ("paragraph", 0, "A hive holds one queen."),
        ("heading", 2, "Food"),
        ("list", 0, "- jelly\n  1. royal"),
        ("code", 0, "queen = 1"),
        ("table", 0, "| month | kilos |\n| --- | --- |\n| May | 12 |"),
    ]
    assert OrgParser().parse(ORG).title == "Keeping bees"


def test_org_language_and_title_come_from_keywords_or_the_first_heading() -> None:
    parsed = OrgParser().parse(b"#+language: es\n* Uno\ntexto")
    assert (parsed.title, parsed.language) == ("Uno", "es")


def test_org_quotes_are_read_and_comments_are_not() -> None:
    source = "#+begin_quote\nsaid\n#+end_quote\n#+begin_comment\nno\n#+end_comment\n: a\n:  b\n#+CAPTION: cap"
    assert found(source) == [("paragraph", 0, "said"), ("code", 0, "a\n b"), ("paragraph", 0, "cap")]


def test_org_block_that_is_never_closed_loses_nothing() -> None:
    source = "#+begin_src c\nint x;\n* Next\n:DRAWER:\nkept"
    assert [text for *_, text in found(source)] == ["int x;", "Next", ":DRAWER:\nkept"]


def test_org_star_within_a_line_is_no_heading() -> None:
    assert found("*bold* text\n*") == [("paragraph", 0, "*bold* text\n*")]


def test_org_includes_are_not_followed() -> None:
    assert found('#+INCLUDE: "/etc/passwd"\ntext') == [("paragraph", 0, "text")]


@pytest.mark.parametrize("source", ["#+OPTIONS: toc:nil\n# comment", ":LOG:\nx\n:END:"])
def test_org_without_text_raises_has_no_text(source: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        OrgParser().parse(source.encode())
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


@pytest.mark.parametrize(
    "hostile",
    [
        "* a" + " " * 500_000 + "b",
        "[[" * 250_000,
        "#+begin_x\n" * 20_000,
        ":A:\n" * 20_000,
        "- a\n" * 100_000,
        "|" * 500_000,
        "* TODO " * 100_000,
    ],
)
def test_org_hostile_lines_take_no_long_time(hostile: str) -> None:
    started = time.process_time()
    assert found(hostile + "\n* end")
    assert time.process_time() - started < 5
