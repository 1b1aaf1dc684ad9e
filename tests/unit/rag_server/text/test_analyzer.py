from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.errors import InvalidArgument
from rag_server.text.analyzer import MAX_LEXEME_CHARACTERS, SUPPORTED_LANGUAGES, Analyzer
from rag_server.text.tokens import TokenKind

SPANISH = Analyzer.for_language("es")
ENGLISH = Analyzer.for_language("en")
MIXED = Analyzer.for_language("mul")


def test_for_language_region_is_ignored() -> None:
    assert Analyzer.for_language("es-CL") is SPANISH
    assert SPANISH.language == "es"


@pytest.mark.parametrize("language", ["", "xx", "klingon", "../es"])
def test_for_language_unknown_raises_invalid_argument(language: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Analyzer.for_language(language)
    assert caught.value.reason == "UNSUPPORTED_LANGUAGE"
    assert [violation.field for violation in caught.value.violations] == ["language"]


@pytest.mark.parametrize("language", SUPPORTED_LANGUAGES)
def test_analyze_every_language_yields_lexemes(language: str) -> None:
    assert Analyzer.for_language(language).analyze("DTE-33 kilogram") != []


def test_supported_languages_include_the_common_ones() -> None:
    assert {"en", "es", "pt", "fr", "de", "it", "nl", "mul"} <= set(SUPPORTED_LANGUAGES)


def test_analyze_spanish_stems_and_folds() -> None:
    assert SPANISH.analyze("Las canciones y la canción") == ["cancion", "cancion"]
    assert SPANISH.analyze("información") == SPANISH.analyze("informacion")


def test_analyze_english_stems_and_drops_contractions() -> None:
    assert ENGLISH.analyze("Tesla's engines don't run") == ["tesla", "engin", "run"]


def test_analyze_mixed_stems_nothing_and_drops_both_stop_lists() -> None:
    assert MIXED.analyze("the canciones of los engines") == ["canciones", "engines"]


def test_analyze_mixed_keeps_words_that_are_content_in_the_other_language() -> None:
    assert MIXED.analyze("sea once") == ["sea", "once"]


def test_analyze_code_is_lowered_and_not_stemmed() -> None:
    assert SPANISH.analyze("DTE-33 y F29, 0043-B") == ["dte-33", "f29", "0043-b"]


def test_analyze_enye_is_a_letter_in_spanish_only() -> None:
    assert SPANISH.analyze("peña pena") == ["peñ", "pen"]
    assert MIXED.analyze("peña") == ["peña"]
    assert ENGLISH.analyze("jalapeño") == ENGLISH.analyze("jalapeno")


def test_analyze_decomposed_and_composed_are_equal() -> None:
    assert SPANISH.analyze("an\u0303o cancio\u0301n") == SPANISH.analyze("año canción")


def test_analyze_compatibility_forms_are_equal() -> None:
    assert ENGLISH.analyze("\ufb01nance \uff21\uff22") == ENGLISH.analyze("finance AB")


def test_analyze_soft_hyphen_is_dropped() -> None:
    assert ENGLISH.analyze("co\u00adoperate") == ENGLISH.analyze("cooperate")


def test_analyze_other_hyphens_are_one() -> None:
    assert SPANISH.analyze("DTE\u201133") == ["dte-33"]


@pytest.mark.parametrize(
    ("written", "stop"), [("qué", True), ("que", True), ("tambien", True), ("té", False)]
)
def test_analyze_stop_word_accents_matter_only_where_they_change_the_word(written: str, stop: bool) -> None:
    assert (SPANISH.analyze(written) == []) is stop


def test_analyze_language_without_list_keeps_function_words() -> None:
    assert Analyzer.for_language("fr").analyze("la maison") != Analyzer.for_language("fr").analyze("maison")


def test_analyze_sharp_s_is_folded() -> None:
    assert Analyzer.for_language("de").analyze("Straße") == Analyzer.for_language("de").analyze("Strasse")


def test_analyze_cyrillic_letters_keep_their_marks() -> None:
    assert Analyzer.for_language("mul").analyze("чай") == ["чай"]


def test_analyze_token_too_long_has_no_lexeme() -> None:
    fitting = "x" * MAX_LEXEME_CHARACTERS
    assert MIXED.analyze(f"{fitting} {fitting}x end") == [fitting, "end"]


def test_explain_token_shows_every_step() -> None:
    text = "¿Las CANCIONES del F29?"
    stop, word, other, code = SPANISH.explain(text)
    assert (stop.surface, stop.is_stop_word, stop.lexeme) == ("Las", True, None)
    assert (word.surface, word.normalized, word.lexeme) == ("CANCIONES", "canciones", "cancion")
    assert word.kind is TokenKind.WORD
    assert text[word.span.start : word.span.end] == "CANCIONES"
    assert other.is_stop_word
    assert (code.kind, code.stem, code.lexeme) == (TokenKind.CODE, "f29", "f29")


def test_explain_long_token_is_shown_without_lexeme() -> None:
    (token,) = MIXED.explain("y" * 70)
    assert token.lexeme is None
    assert not token.is_stop_word
    assert len(token.surface) == 70


@given(st.text())
def test_explain_any_text_agrees_with_analyze(text: str) -> None:
    for analyzer in (SPANISH, MIXED):
        explained = analyzer.explain(text)
        assert [token.lexeme for token in explained if token.lexeme is not None] == analyzer.analyze(text)
        assert all(text[token.span.start : token.span.end] == token.surface for token in explained)


def test_analyze_from_many_threads_gives_one_result() -> None:
    analyzer = Analyzer("en")
    texts = [f"running engines {n} nationalities" for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(analyzer.analyze, texts))
    assert results == [Analyzer("en").analyze(text) for text in texts]
