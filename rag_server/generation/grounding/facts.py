"""The hard facts of a sentence, its numbers and names, and whether a passage has them.

Words can be said in other words; a number or a name that no source has was made up, or is of something else.
Checked apart because neither embeddings nor shared words notice one changed number: Nan et al., "Entity-level
Factual Consistency of Abstractive Text Summarization", EACL 2021.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from rag_server.domain.document import Span
from rag_server.domain.grounding import Fact, FactKind
from rag_server.generation.grounding.numbers import Values, numbers_in

Analyze = Callable[[str], list[str]]
"""From a text to its lexemes."""

_TOKEN: Final = re.compile(r"[^\W\d_](?:[\w.'’-]*\w)?")
_POSSESSIVE: Final = re.compile(r"['’]s?$", re.IGNORECASE)
_BEFORE_START: Final = ".!?…:;¿¡\"“”«»'‘(\n*_#|>-–—"
"""After one of these, a capital may only say that something begins."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a passage has."""

    values: Values
    lexemes: AbstractSet[str]

    def joined(self, others: Iterable[Known]) -> Known:
        """Return what this one and others have together."""
        everything = [self, *others]
        return Known(
            frozenset().union(*(each.values for each in everything)),
            frozenset().union(*(each.lexemes for each in everything)),
        )


@dataclass(frozen=True, slots=True)
class Claimed:
    """A fact of a sentence, with what a passage needs to have it."""

    fact: Fact
    values: Values
    """Of a number, those that it may be read as: any will do."""
    lexemes: frozenset[str]
    """Of a name all are needed."""

    def is_in(self, known: Known) -> bool:
        """Whether a passage has it."""
        if self.fact.kind is FactKind.NUMBER:
            return not self.values.isdisjoint(known.values)
        return self.lexemes <= known.lexemes


def known_in(text: str, lexemes: AbstractSet[str]) -> Known:
    """Return what `text`, which has `lexemes`, has."""
    values: set[float] = set()
    for number in numbers_in(text):
        values |= number.values
    return Known(frozenset(values), lexemes)


def names_in(text: str, analyze: Analyze) -> frozenset[str]:
    """Return the lexemes of the words of `text` that have a capital within a sentence."""
    return frozenset(
        lexeme
        for match in _TOKEN.finditer(text)
        if _is_capital(match.group()) and not _may_start(text, match.start())
        for lexeme in analyze(_POSSESSIVE.sub("", match.group()))
    )


def facts_in(
    text: str, span: Span, analyze: Analyze, names: AbstractSet[str], *, with_names: bool
) -> list[Claimed]:
    """Return the facts of a sentence, in order.

    Args:
        text: All of the text.
        span: Of the sentence.
        analyze: Gives lexemes.
        names: Lexemes that are names elsewhere; a first word is one only if it is among them.
        with_names: Whether capitals tell names at all: they do in Spanish and English.
    """
    sentence = text[span.start : span.end]
    facts = []
    for number in numbers_in(sentence):
        fact = _fact(FactKind.NUMBER, text, span.start, number.span)
        facts.append(Claimed(fact, number.values, frozenset(analyze(fact.text))))
    if with_names:
        facts += _names_of(text, span, sentence, analyze, names)
    return sorted(facts, key=lambda each: each.fact.span)


def _names_of(
    text: str, span: Span, sentence: str, analyze: Analyze, names: AbstractSet[str]
) -> Iterator[Claimed]:
    for match in _TOKEN.finditer(sentence):
        if not _is_capital(match.group()):
            continue
        lexemes = frozenset(analyze(_POSSESSIVE.sub("", match.group())))
        if not lexemes:  # a stop word
            continue
        if _may_start(sentence, match.start()) and not (lexemes <= names or _is_acronym(match.group())):
            continue
        yield Claimed(_fact(FactKind.NAME, text, span.start, Span(*match.span())), frozenset(), lexemes)


def _fact(kind: FactKind, text: str, offset: int, span: Span) -> Fact:
    place = Span(offset + span.start, offset + span.end)
    return Fact(kind, place, text[place.start : place.end])


def _is_capital(word: str) -> bool:
    return word[0].isupper()


def _is_acronym(word: str) -> bool:
    return len(word) > 1 and word.isupper()


def _may_start(text: str, position: int) -> bool:
    """Whether what begins at `position` may be the first word of a sentence."""
    before = text[:position].rstrip(" \t")
    return not before or before[-1] in _BEFORE_START
