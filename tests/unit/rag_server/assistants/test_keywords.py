from __future__ import annotations

import pytest

from rag_server.assistants.keywords import (
    AnalyzedQuestion,
    KeywordIndex,
    KeywordMatch,
    check_keywords,
    languages_of,
)
from rag_server.errors import InvalidArgument


def matched(question: str, *keywords: str, language: str = "") -> KeywordMatch | None:
    return KeywordIndex(keywords, language).match(AnalyzedQuestion(question))


@pytest.mark.parametrize(
    ("question", "keyword"),
    [
        ("How much LEAVE do I get?", "leave"),
        ("¿Cuántos días de vacación tengo?", "vacaciones"),
        ("¿Y la nomina?", "nómina"),
        ("Where are my invoices?", "invoice"),
        ("¿Cuál es el derecho a la admisión?", "derecho de admisión"),
        ("Is DTE-33 paid?", "dte-33"),
    ],
)
@pytest.mark.parametrize("language", ["", "mixed"])
def test_keyword_matches_without_regard_to_case_accents_and_inflection(
    question: str, keyword: str, language: str
) -> None:
    spanish = any(sign in question for sign in "¿")
    found = matched(question, keyword, language=("es" if spanish else "en") if language else "")
    assert found is not None
    assert found.keyword == keyword


@pytest.mark.parametrize(
    ("question", "keyword"),
    [
        ("Where is the carpet?", "car"),
        ("the leave of a year", "year leave"),
        ("annual report and leave", "annual leave"),
        ("", "leave"),
        ("the of", "leave"),
    ],
)
def test_part_of_a_word_or_words_apart_do_not_match(question: str, keyword: str) -> None:
    assert matched(question, keyword) is None


def test_longest_keyword_is_named_and_all_of_them_cover() -> None:
    found = matched("annual leave and travel costs", "leave", "annual leave", "travel", language="en")
    assert found == KeywordMatch(covered=3, share=3 / 4, keyword="annual leave")


def test_no_keywords_match_nothing() -> None:
    assert matched("leave") is None


@pytest.mark.parametrize(
    ("language", "languages"),
    [("", ("es", "en")), ("es-CL", ("es",)), ("EN", ("en",)), ("de", ("de",)), ("xx", ("mul",))],
)
def test_language_says_by_whose_rules_words_are_compared(language: str, languages: tuple[str, ...]) -> None:
    assert languages_of(language) == languages


@pytest.mark.parametrize("keyword", ["the", " ", "?!", "el de la"])
def test_keyword_without_a_word_is_refused_by_its_place(keyword: str) -> None:
    language = "es" if keyword.startswith("el") else "en"
    with pytest.raises(InvalidArgument) as caught:
        check_keywords(["leave", keyword], language)
    assert [each.field for each in caught.value.violations] == ["assistant.keywords[1]"]


def test_keyword_with_a_word_in_either_language_is_taken() -> None:
    check_keywords(["the", "el", "leave"], "")
    check_keywords([], "en")
