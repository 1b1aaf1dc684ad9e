"""Which words of the passages are of the family of a question's word: `fortificación` beside `fortificar`.

A stemmer joins the forms of one word, but seldom a verb with the noun that is made of it (`fortific`,
`fortif`). Words that begin alike mostly belong together: cutting words short is about as good as stemming
in European languages (McNamee and Mayfield, "Character N-Gram Tokenization for European Language Text
Retrieval", Information Retrieval 7, 2004). It also errs, so such a word counts in part, and only where the
word itself is absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

PREFIX_CHARACTERS: Final = 6
"""Lexemes that agree so far are related; shorter ones have no relatives."""

RELATED_SHARE: Final = 0.8
"""What a related word counts for, of 1."""


def related_lexemes(terms: Iterable[str], vocabulary: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return, for each of `terms` that has any, the other lexemes of `vocabulary` that are related to it.

    Codes and numbers have no relatives: `DTE-33A` is not `DTE-33B`. O(vocabulary).
    """
    long_words = [term for term in terms if len(term) >= PREFIX_CHARACTERS and term.isalpha()]
    families: dict[str, set[str]] = {term[:PREFIX_CHARACTERS]: set() for term in long_words}
    if not families:
        return {}
    for lexeme in vocabulary:
        family = families.get(lexeme[:PREFIX_CHARACTERS])
        if family is not None and lexeme.isalpha():
            family.add(lexeme)
    others = {term: frozenset(families[term[:PREFIX_CHARACTERS]] - {term}) for term in long_words}
    return {term: family for term, family in others.items() if family}
