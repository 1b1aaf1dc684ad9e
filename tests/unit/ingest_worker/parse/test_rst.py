from __future__ import annotations

import time
from pathlib import Path

import pytest
from docutils.parsers.rst import roles

from ingest_worker.parse import rst
from ingest_worker.parse.rst import RstParser, without_marks
from rag_server.errors import InvalidArgument
from tests.documents_textual import RST
from tests.unit.ingest_worker.parse.block_texts import parts


def texts(source: str) -> list[str]:
    return [text for *_, text in parts(RstParser(), source.encode())]


def test_rst_document_yields_blocks_of_each_kind() -> None:
    assert parts(RstParser(), RST) == [
        ("heading", 1, "The hive"),
        ("paragraph", 0, "A hive holds one queen, see the queen."),
        ("heading", 2, "The queen"),
        ("list", 0, "- lays eggs\n- lives long"),
        ("code", 0, "queen = 1"),
        ("paragraph", 0, "versionadded: 3.2"),
        ("paragraph", 0, "She lives for 8 years."),
        ("table", 0, "| month | kilos |\n| --- | --- |\n| May | 12 |"),
    ]
    assert RstParser().parse(RST).title == "The hive"


def test_rst_content_of_unknown_directives_is_kept_with_its_structure() -> None:
    source = (
        ".. tabs::\n   :flag: x\n\n   .. tab:: Linux\n\n      Install:\n\n      - one\n      - two\n\nafter"
    )
    assert parts(RstParser(), source.encode()) == [
        ("paragraph", 0, "tab: Linux"),
        ("paragraph", 0, "Install:"),
        ("list", 0, "- one\n- two"),
        ("paragraph", 0, "after"),
    ]


def test_rst_lists_definitions_fields_and_notes_are_read() -> None:
    source = "term\n  said\n\n:Author: Doe\n\n1. a\n\n   - b\n\n.. note:: mind\n\n.. [1] foot\n\n| x\n| y\n"
    assert texts(source) == ["- term: said", "- Author: Doe", "- a\n  - b", "mind", "[1] foot", "x\ny"]


def test_rst_files_are_never_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish", encoding="utf-8")
    source = (
        f".. include:: {secret}\n\n.. literalinclude:: {secret}\n\n.. csv-table:: t\n   :file: {secret}\n\n"
        f".. raw:: html\n   :file: {secret}\n\n.. |s| include:: {secret}\n\ntext"
    )
    assert "swordfish" not in "".join(texts(source))
    assert texts(source)[-1] == "text"


def test_rst_roles_of_a_document_do_not_outlive_it() -> None:
    before = dict(roles._roles)
    assert texts(".. role:: mine\n\n.. default-role:: mine\n\n:mine:`x` `y`") == ["x y"]
    assert roles._roles == before


def test_rst_broken_markup_is_kept_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    source = "Title\n===\n\n+---+\n| a |\n+--\n\n*open `role :x:`y\n\nA\n~~~~~\n\nB\n=====\n\n  C\n  ====="
    said = "\n".join(texts(source))
    assert all(word in said for word in ("Title", "| a |", "open", "A", "B", "C"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a *b* **c** ``d*e`` `f`_ `g <http://h>`__ :i:`j <k>` :py:func:`~l.m`", "a b c d*e f g j l.m"),
        ("|version| and x_ y\\_z 2*3*4", "version and x y_z 2*3*4"),
        ("* not ` open", "* not ` open"),
        ("snake_case __init__", "snake_case __init__"),
    ],
)
def test_rst_inline_marks_are_removed(source: str, said: str) -> None:
    assert without_marks(source) == said


def test_rst_of_comments_only_raises_has_no_text() -> None:
    with pytest.raises(InvalidArgument) as caught:
        RstParser().parse(b".. only a comment\n\n.. _target:\n")
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_rst_longer_than_docutils_may_take_is_read_as_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rst, "_MAX_STRUCTURED_CHARACTERS", 10)
    assert parts(RstParser(), b"Title\n=====\n\ntext") == [
        ("paragraph", 0, "Title\n====="),
        ("paragraph", 0, "text"),
    ]


@pytest.mark.parametrize(
    "hostile",
    [
        "*a " * 30_000,
        "`" * 60_000,
        "`a <" * 20_000,
        "|a" * 30_000,
        "``a" * 20_000,
        ":a:" * 20_000,
        "_" * 60_000,
    ],
)
def test_rst_hostile_marks_take_no_long_time(hostile: str) -> None:
    started = time.process_time()
    assert texts(f"x {hostile}")
    assert time.process_time() - started < 5


def test_rst_absurd_nesting_ends_with_text_or_document_corrupt() -> None:
    source = "\n\n".join(" " * depth + "x" for depth in range(600))
    try:
        assert texts(source)
    except InvalidArgument as error:
        assert error.reason == "DOCUMENT_CORRUPT"  # noqa: PT017 - it depends on the depth of the stack
