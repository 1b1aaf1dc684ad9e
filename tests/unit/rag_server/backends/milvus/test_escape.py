from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.backends.milvus.escape import escape, escape_all, unescape, unescape_all


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("word", "word"),
        ("dte-33", "dtez2dz33"),
        ("3.14", "3z2ez14"),
        ("plaza", "plazza"),
        ("año", "azf1zo"),
        ("a_b", "az5fzb"),
        ("ABC", "z41zz42zz43z"),
        ("²", "zb2z"),
        ("", ""),
    ],
)
def test_escape_of_known_text_has_known_spelling(text: str, spelling: str) -> None:
    assert escape(text) == spelling


def read_back(spelling: str) -> str:
    return re.sub(r"z(z|[0-9a-f]+z)", lambda m: "z" if m[1] == "z" else chr(int(m[1][:-1], 16)), spelling)


@given(st.text())
def test_escape_of_any_text_is_plain_ascii_and_can_be_read_back(text: str) -> None:
    spelling = escape(text)
    assert re.fullmatch(r"[a-z0-9]*", spelling)
    assert read_back(spelling) == text


def test_escape_all_leaves_out_empty_lexemes_and_keeps_order() -> None:
    assert escape_all(["b", "", "a", "b"]) == "b a b"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=8))
def test_unescape_all_returns_the_lexemes_in_order(lexemes: list[str]) -> None:
    assert unescape_all(escape_all(lexemes)) == lexemes


@given(st.text("zazz0bfñ ", min_size=1))
def test_unescape_reads_texts_that_look_like_escapes(text: str) -> None:
    assert unescape(escape(text)) == text
