"""What the collection and the query tell fusion beside the scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rag_server.text.analyzer import MULTILINGUAL
from rag_server.text.tokens import TokenKind, kind_of


@dataclass(frozen=True, slots=True)
class FusionContext:
    """Everything is optional: an engine that cannot tell leaves the default, and fusion trusts both legs."""

    is_language_covered: bool | None = None
    """Whether the embedding model was trained for the collection's language; None: not known."""
    full_match_score: float | None = None
    """BM25 of a passage of average length that holds each term of the query once: the sum of the terms' idf,
    those that the collection lacks included; None: not known."""
    identifier_share: float = 0.0
    """Share of that sum, 0 to 1, that is due to codes (`DTE-33`) which some passage holds."""

    @classmethod
    def of_terms(
        cls,
        terms: Sequence[str],
        document_frequencies: Sequence[int],
        row_count: int,
        *,
        is_language_covered: bool | None,
    ) -> Self:
        """Return what the query's lexemes tell about it.

        Args:
            terms: Lexemes, repeated as they are in the query.
            document_frequencies: In how many passages each stands; 0 where it is in none.
            row_count: Passages of the collection.
            is_language_covered: See the field.
        """
        idfs = [_idf(row_count, frequency) for frequency in document_frequencies]
        total = sum(idfs)
        identified = sum(
            idf
            for term, frequency, idf in zip(terms, document_frequencies, idfs, strict=True)
            if frequency > 0 and kind_of(term) is TokenKind.CODE
        )
        if total <= 0:
            return cls(is_language_covered)
        return cls(is_language_covered, total, min(identified / total, 1.0))

    @classmethod
    def pooled(cls, contexts: Sequence[Self]) -> Self:
        """Return the context of a ranking over several collections: the most cautious of theirs.

        Nothing is held against a leg unless it is so in each of the collections.
        """
        if not contexts:
            return cls()
        covered = {context.is_language_covered for context in contexts}
        known = [each.full_match_score for each in contexts if each.full_match_score is not None]
        return cls(
            is_language_covered=covered.pop() if len(covered) == 1 else None,
            full_match_score=min(known) if len(known) == len(contexts) else None,
            identifier_share=min(context.identifier_share for context in contexts),
        )


def is_language_covered(language: str, model_languages: Sequence[str]) -> bool | None:
    """Return whether a collection's language is among a model's (BCP 47; regions do not matter).

    None for collections in several languages and for models that declare none.
    """
    primary = _primary(language)
    if not model_languages or primary in {"", MULTILINGUAL}:
        return None
    return primary in {_primary(each) for each in model_languages}


def _primary(language: str) -> str:
    return language.partition("-")[0].lower()


def _idf(row_count: int, document_frequency: int) -> float:
    """Return the idf that BM25 uses here."""
    return math.log1p((row_count - document_frequency + 0.5) / (document_frequency + 0.5))
