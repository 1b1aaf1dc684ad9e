"""What a query asks of the lexical leg and, by its phrases and exclusions, of every result."""

from __future__ import annotations

from dataclasses import dataclass

Phrase = tuple[str, ...]
"""Lexemes that follow each other; stop words between them do not count. One lexeme is a phrase too."""


@dataclass(frozen=True, slots=True)
class Bm25:
    """Parameters of BM25 (Robertson and Zaragoza, 2009), fixed when a collection is made."""

    k1: float = 1.2
    """How slowly further occurrences of a term stop counting."""
    b: float = 0.75
    """How much a passage's length counts, 0 to 1."""


@dataclass(frozen=True, slots=True)
class LexicalQuery:
    """The lexemes of one query in one language."""

    terms: tuple[str, ...] = ()
    """Scored by BM25, those of phrases included; a term that stands there twice counts twice."""
    phrases: tuple[Phrase, ...] = ()
    """A result of either leg contains each of them."""
    excluded: tuple[Phrase, ...] = ()
    """A result of either leg contains none of them."""
