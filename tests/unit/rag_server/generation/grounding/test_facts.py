from __future__ import annotations

from collections.abc import Set as AbstractSet

import pytest

from rag_server.domain.document import Span
from rag_server.domain.grounding import FactKind
from rag_server.generation.grounding.facts import Claimed, facts_in, known_in, names_in
from rag_server.text.analyzer import Analyzer

analyze = Analyzer.for_language("en").analyze


def facts(text: str, names: AbstractSet[str] = frozenset(), *, with_names: bool = True) -> list[Claimed]:
    return facts_in(text, Span(0, len(text)), analyze, names, with_names=with_names)


def texts(text: str, names: AbstractSet[str] = frozenset()) -> list[str]:
    return [each.fact.text for each in facts(text, names)]


def is_known(fact: str, source: str) -> bool:
    (claimed,) = facts(f"it is {fact}")
    return claimed.is_in(known_in(source, frozenset(analyze(source))))


def test_facts_are_numbers_and_names_in_order_at_their_spans() -> None:
    text = "It moved from Paris to Lima in 1889, with Eiffel's men."
    found = facts(text)
    assert [(each.fact.kind, each.fact.text) for each in found] == [
        (FactKind.NAME, "Paris"),
        (FactKind.NAME, "Lima"),
        (FactKind.NUMBER, "1889"),
        (FactKind.NAME, "Eiffel's"),
    ]
    assert all(text[each.fact.span.start : each.fact.span.end] == each.fact.text for each in found)


def test_facts_of_a_sentence_within_a_text_have_spans_of_the_text() -> None:
    text = "Nothing here. It is in Paris."
    (found,) = facts_in(text, Span(14, len(text)), analyze, frozenset(), with_names=True)
    assert found.fact.span == Span(23, 28)


def test_first_word_is_a_name_only_if_it_is_one_elsewhere() -> None:
    assert texts("Founded long ago.") == []
    assert texts("Edison founded it.") == []
    assert texts("Edison founded it.", names_in("Then Edison came.", analyze)) == ["Edison"]
    assert texts("NASA founded it.") == ["NASA"]
    assert texts('He said: "Founded long ago."') == []


def test_names_do_not_count_where_capitals_tell_nothing() -> None:
    assert [each.fact.text for each in facts("it is Paris in 1889", with_names=False)] == ["1889"]


@pytest.mark.parametrize(
    ("fact", "source", "known"),
    [
        ("1,500", "There are fifteen hundred.", True),
        ("1500", "There are 1600.", False),
        ("Paris", "The tower of PARIS.", True),
        ("Córdoba", "The mosque of Cordoba.", True),
        ("Paris", "The tower of Lima.", False),
    ],
)
def test_fact_is_known_by_value_and_by_lexeme(fact: str, source: str, known: bool) -> None:
    assert is_known(fact, source) is known
