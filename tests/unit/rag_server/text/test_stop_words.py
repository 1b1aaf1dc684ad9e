from __future__ import annotations

from rag_server.text.stop_words import ACCENTED_CONTENT, ENGLISH, SPANISH, STOP_WORDS


def test_stop_words_are_lower_case_words() -> None:
    for word in ENGLISH | SPANISH:
        assert word == word.lower()
        assert word.isalpha()


def test_stop_words_mixed_is_within_the_union() -> None:
    assert STOP_WORDS["mul"] < ENGLISH | SPANISH


def test_stop_words_accented_content_is_on_no_list() -> None:
    assert not ACCENTED_CONTENT & (ENGLISH | SPANISH)
