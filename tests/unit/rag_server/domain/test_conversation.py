from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.conversation import MAX_TITLE_CHARACTERS, title_of


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Where is it?", "Where is it?"),
        ("  Where\n\tis   it? ", "Where is it?"),
        ("a\x1b[2Jb", "a [2Jb"),
        ("a\u202eb\u2066c", "abc"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("x" * 101, "x" * 100),
        ("word " * 40, "word " * 19 + "word"),
        ("a" * 99 + " b c", "a" * 99),
        ("a" * 98 + " b c", "a" * 98 + " b"),
        ("漢" * 120, "漢" * 100),
        # what is drawn as one sign is not cut in its middle
        ("e\u0301" * 120, "e\u0301" * 50),
        ("x" + "e\u0301" * 120, "x" + "e\u0301" * 49),
        ("👨\u200d👩\u200d👧\u200d👦" * 40, "👨\u200d👩\u200d👧\u200d👦" * 14),
        ("x" + "👍🏽" * 80, "x" + "👍🏽" * 49),
        ("🇨🇱" * 80, "🇨🇱" * 50),
        ("x" + "🇨🇱" * 80, "x" + "🇨🇱" * 49),
        ("❤\ufe0f" * 50 + "❤\ufe0f", "❤\ufe0f" * 50),
        ("a" + "\u0301" * 200, "a" + "\u0301" * 99),
    ],
)
def test_title_is_the_words_that_begin_the_question(question: str, title: str) -> None:
    assert title_of(question) == title


@given(st.text(max_size=300))
def test_title_is_one_short_line_without_controls(question: str) -> None:
    title = title_of(question)
    assert len(title) <= MAX_TITLE_CHARACTERS
    assert title == title.strip()
    assert not {unicodedata.category(each) for each in title} & {"Cc", "Cs", "Zl", "Zp"}
