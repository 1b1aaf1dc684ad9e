from __future__ import annotations

import pytest

from rag_server.generation.lines import lines_of, one_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo", ["one", "two"]),
        ("1. one\n2) two\n- three\n* four\n• five", ["one", "two", "three", "four", "five"]),
        ('"one"\n«two»\n**three**', ["one", "two", "three"]),
        ("Here are other questions:\n\none\n", ["one"]),
        ("one\nONE\n one ", ["one"]),
        ("1984 was when?\n5 herons", ["1984 was when?", "5 herons"]),
        ("¿Qué es?\n\x1b[2Jtwo\u202e", ["¿Qué es?", "[2Jtwo"]),
        ("x" * 21, []),
        ("", []),
        ("\n \n-\n", []),
    ],
)
def test_lines_are_read_without_what_is_around_them(text: str, expected: list[str]) -> None:
    assert lines_of(text, max_count=9, max_characters=20) == expected


def test_lines_are_no_more_than_asked_for() -> None:
    assert lines_of("one\ntwo\nthree", max_count=2, max_characters=9) == ["one", "two"]


def test_last_line_of_a_text_that_was_cut_is_left_out() -> None:
    assert lines_of("one\ntwo\nthr", max_count=9, max_characters=9, is_whole=False) == ["one", "two"]
    assert lines_of("thr", max_count=9, max_characters=9, is_whole=False) == []


def test_text_on_one_line_has_no_controls() -> None:
    assert one_line("a\n\tb\0c\u2028d\u200be\ud800") == "a b c de"
