from __future__ import annotations

from rag_server.backends.extractive.word_families import related_lexemes


def test_related_lexemes_that_begin_alike_are_of_a_family() -> None:
    related = related_lexemes(["invasion", "pan"], ["invasiv", "invasion", "invierno", "pan"])
    assert related == {"invasion": {"invasiv"}}


def test_related_lexemes_of_terms_that_begin_alike_are_each_other() -> None:
    related = related_lexemes(["invasion", "invasiv"], ["invasion", "invasiv"])
    assert related == {"invasion": {"invasiv"}, "invasiv": {"invasion"}}


def test_related_lexemes_of_short_words_are_none() -> None:
    assert related_lexemes(["libro"], ["libros", "libro", "librero"]) == {}


def test_related_lexemes_of_codes_and_numbers_are_none() -> None:
    assert related_lexemes(["dte-33a", "1000000"], ["dte-33b", "1000000000"]) == {}
    assert related_lexemes(["covers"], ["covers19"]) == {}


def test_related_lexemes_without_vocabulary_are_none() -> None:
    assert related_lexemes(["invasion"], []) == {}
