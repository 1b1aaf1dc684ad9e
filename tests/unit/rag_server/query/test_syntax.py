from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.retrieval import QuerySyntax
from rag_server.query.syntax import ParsedQuery, parse, to_lexical
from rag_server.text.analyzer import Analyzer

OPERATORS, PLAIN = QuerySyntax.OPERATORS, QuerySyntax.PLAIN
LANGUAGES = ["es", "en", "mul"]
MAX_QUERY_LENGTH = 8192

signs = st.sampled_from(
    ['"', "“", "”", "«", "»", "-", " ", "\n", "\u3000", "a", "ñ", "5", ",", "語", "n\u0303"]
)
hostile = st.lists(signs, max_size=30).map("".join)
queries = hostile | st.text(max_size=40)


def lexical(text: str, language: str = "en") -> LexicalQuery:
    return to_lexical(parse(text, OPERATORS), Analyzer.for_language(language))


@pytest.mark.parametrize(
    ("query", "text", "phrases"),
    [
        ('the "hot swap" rack', "the hot swap rack", ("hot swap",)),
        ("el “arriendo de oficina” y «cambio de giro»", "el arriendo de oficina y cambio de giro",
         ("arriendo de oficina", "cambio de giro")),
        ('"one""two"', "one two", ("one", "two")),
        ('"one"two', "one two", ("one",)),
        ("uno«dos»", "uno dos", ("dos",)),
        ('("one", "two")', "(one, two)", ("one", "two")),
        ('say "the  “inner”\nword"', "say the “inner” word", ("the “inner” word",)),
        ('« avec des espaces »', "avec des espaces", ("avec des espaces",)),
        ('""', "", ()),
        ('" "', "", ()),
    ],
)  # fmt: skip
def test_query_phrase_stands_between_quotes(query: str, text: str, phrases: tuple[str, ...]) -> None:
    parsed = parse(query, OPERATORS)
    assert parsed.text == text
    assert parsed.phrases == phrases
    assert parsed.excluded == ()


@pytest.mark.parametrize(
    ("query", "text", "excluded"),
    [
        ("python -snake", "python", ("snake",)),
        ("-snake python", "python", ("snake",)),
        ("java -ñandú -coffee island", "java island", ("ñandú", "coffee")),
        ('java -"instant coffee" island', "java island", ("instant coffee",)),
        ("java\t-«instant coffee»island", "java island", ("instant coffee",)),
        ("rut -DTE-33, more", "rut more", ("DTE-33,",)),
        ("-only", "", ("only",)),
        ('-""', "", ()),
    ],
)
def test_query_exclusion_follows_its_sign(query: str, text: str, excluded: tuple[str, ...]) -> None:
    parsed = parse(query, OPERATORS)
    assert parsed.text == parsed.wanted == text
    assert parsed.excluded == excluded
    assert parsed.phrases == ()


@pytest.mark.parametrize(
    "query",
    [
        "at -5 degrees",
        "- item",
        "DTE-33",
        "a-b",
        "--verbose",
        "2010-2020",
        "(-inside)",
        "ends with -",
        "-",
        "– dash",
        "−minus",
        'an "open quote',
        'a 19" rack',
        'a 19" rack and a 21" one',
        'the devs" and the ops" view',
        "an “open quote",
        "a ”closed“ one",
        "»so«",
        '-"open',
        "-«open",
        "-“",
        '"',
        "",
    ],
)
def test_query_without_operators_is_text(query: str) -> None:
    assert parse(query, OPERATORS) == ParsedQuery(query, query)


def test_query_straight_quote_after_a_digit_opens_nothing() -> None:
    parsed = parse('a 19" rack "hot swap"', OPERATORS)
    assert parsed == ParsedQuery('a 19" rack hot swap', 'a 19" rack hot swap', ("hot swap",))


@settings(deadline=None)
@given(queries)
def test_query_plain_is_the_text_with_single_spaces(query: str) -> None:
    tidy = " ".join(query.split())
    assert parse(query, PLAIN) == ParsedQuery(tidy, tidy)


@settings(deadline=None)
@given(queries, st.sampled_from(LANGUAGES))
@example('""-a', "en")
@example('"a"-1', "en")
def test_query_of_any_text_is_read(query: str, language: str) -> None:
    parsed = parse(query, OPERATORS)
    for text in (parsed.text, parsed.wanted, *parsed.phrases, *parsed.excluded):
        assert text == " ".join(text.split())
        assert set(text) <= {*query, " "}
    for text in (*parsed.phrases, *parsed.excluded):
        assert text
    asked = to_lexical(parsed, Analyzer.for_language(language))
    assert all(asked.phrases)
    assert all(asked.excluded)
    for phrase in asked.phrases:
        assert contains(asked.terms, phrase)  # its words are scored, as they stand


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters='-"“«')))
def test_query_without_signs_reads_the_same_in_both_syntaxes(query: str) -> None:
    assert parse(query, OPERATORS) == parse(query, PLAIN)


words = st.from_regex(r"[a-zñ0-9]{1,6}( [a-z]{1,6})?", fullmatch=True)


@settings(deadline=None)
@given(words, st.lists(st.tuples(st.booleans(), words), max_size=5))
def test_query_put_together_is_taken_apart(start: str, operators: list[tuple[bool, str]]) -> None:
    query = " ".join([start, *(f'-"{text}"' if excludes else f'"{text}"' for excludes, text in operators)])
    parsed = parse(query, OPERATORS)
    assert parsed.text == " ".join([start, *(text for excludes, text in operators if not excludes)])
    assert parsed.phrases == tuple(text for excludes, text in operators if not excludes)
    assert parsed.excluded == tuple(text for excludes, text in operators if excludes)


@pytest.mark.parametrize("unit", ['"', "“", "«", '-"', "-“", ' -"', '"a', " -a", "-", '" ', "a"])
def test_query_of_the_greatest_length_is_read(unit: str) -> None:
    query = (unit * MAX_QUERY_LENGTH)[:MAX_QUERY_LENGTH]
    asked = lexical(query)
    assert len(asked.phrases) <= 1  # repeated ones count once
    assert len(asked.excluded) <= 1


def test_lexical_query_has_the_lexemes_of_the_collections_language() -> None:
    asked = lexical('contratos "cambios de giro" -"las facturas" -anuladas', "es")
    assert asked.terms == ("contrat", "cambi", "gir")
    assert asked.phrases == (("cambi", "gir"),)  # `de` does not count
    assert asked.excluded == (("factur",), ("anul",))


def test_lexical_query_term_that_stands_there_twice_counts_twice() -> None:
    asked = lexical('rack "rack" "rack"')
    assert asked.terms == ("rack", "rack", "rack")
    assert asked.phrases == (("rack",),)


@pytest.mark.parametrize("query", ['"to be"', "-the", '-"of the"', '"..."', '-"!"', '""'])
def test_lexical_query_of_operators_without_a_lexeme_asks_for_nothing(query: str) -> None:
    assert lexical(query) == LexicalQuery()


def test_lexical_query_phrase_beside_a_number_is_no_code() -> None:
    asked = lexical('"dte"-33')
    assert asked.terms == ("dte", "33")
    assert asked.phrases == (("dte",),)


def contains(lexemes: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    starts = range(len(lexemes) - len(phrase) + 1)
    return any(lexemes[start : start + len(phrase)] == phrase for start in starts)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "code", ["DTE-33", "F29", "SKU 0043-B", "C++", "3.14", "v1.2.3", "COVID-19", "1,000.50"]
)
@pytest.mark.parametrize("passage", ["el {} según", "({})", "{}.", "«{}», y", "uno/dos {}; tres", "{}"])
def test_phrase_that_is_a_code_is_found_in_a_passage_that_holds_it(
    passage: str, code: str, language: str
) -> None:
    (phrase,) = lexical(f'"{code}"', language).phrases
    analyzer = Analyzer.for_language(language)
    assert contains(tuple(analyzer.analyze(passage.format(code))), phrase)


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.sampled_from(LANGUAGES))
def test_phrase_between_white_space_has_the_same_lexemes_as_alone(
    before: str, phrase: str, after: str, language: str
) -> None:
    analyze = Analyzer.for_language(language).analyze
    assert analyze(f"{before} {phrase} {after}") == analyze(before) + analyze(phrase) + analyze(after)
