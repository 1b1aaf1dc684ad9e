from __future__ import annotations

import pytest

from rag_server.generation.grounding.negation import Denied, denied_in, negates
from rag_server.text.analyzer import Analyzer


def denied(text: str, language: str = "en") -> set[str]:
    analyze = Analyzer.for_language(language).analyze
    return set(denied_in(text, analyze).lexemes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The bridge is not safe.", "safe"),
        ("Nobody says that the bridge is safe.", "says bridge safe"),
        ("Words are compared as BM25 does: whole, without regard to case.", "regard case"),
        ("It has no doors, windows or roofs.", "doors windows roofs"),
        ("It has no doors, because thieves never use doors.", "doors use"),
        ("It was not old, the mayor told the reporters later.", "old"),
        ("It isn't old but safe.", "old"),
        ("It is old (nobody knows why) and safe.", "knows"),
        ("Safe it is not.", "safe"),
        ("Nobody knows the whole old bridge, safe it is not.", "knows whole old bridge safe"),
        ("The bridge is safe.", ""),
        ("", ""),
    ],
)
def test_negation_reaches_to_the_end_of_its_clause(text: str, words: str) -> None:
    assert denied(text) == set(Analyzer.for_language("en").analyze(words))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("La entrada no cuesta cinco euros, aunque el museo abre a las nueve.", "cuesta cinco euros"),
        ("No vino nadie.", "vino"),
        ("Ningún puente es seguro.", "puente seguro"),
        ("El pan de centeno crece sin levadura; el blanco necesita sal.", "levadura"),
    ],
)
def test_negation_reaches_to_the_end_of_its_clause_in_spanish(text: str, words: str) -> None:
    assert denied(text, "es") == set(Analyzer.for_language("es").analyze(words))


def test_what_is_denied_of_one_thing_and_stated_of_another_tells_nothing() -> None:
    analyze = Analyzer.for_language("en").analyze
    found = denied_in("The harbour is closed at night, but the market is not closed on Sundays.", analyze)
    assert found == Denied(frozenset(analyze("Sundays")), frozenset(analyze("closed")))


@pytest.mark.parametrize(
    "text",
    [
        "Not only Paris but Rome has one.",
        "No. 10 is a house.",
        "Without doubt it is old.",
        "Sin embargo, abre.",
        "No obstante, abre.",
        "No sólo abre en verano.",
        "Sin duda abre.",
        "The knot is nocturnal.",
    ],
)
def test_words_that_only_look_like_a_negation_are_none(text: str) -> None:
    assert not negates(text)


@pytest.mark.parametrize("text", ["It isn’t so.", "It cannot be.", "NEVER.", "Jamás.", "Ni siquiera abre."])
def test_words_that_negate_are_known_whatever_their_case(text: str) -> None:
    assert negates(text)


@pytest.mark.parametrize("text", ["no " * 9000, "no, " * 9000, "no a, b c; " * 4000, "not" + "," * 20_000])
def test_long_texts_full_of_negations_are_read_quickly(text: str) -> None:
    assert len(denied_in(text, Analyzer.for_language("es").analyze).lexemes) <= 2
