from __future__ import annotations

import math

import pytest

from rag_server.query.fuse.context import FusionContext, is_language_covered


def idf(row_count: int, frequency: int) -> float:
    return math.log(1 + (row_count - frequency + 0.5) / (frequency + 0.5))


def test_context_full_match_counts_terms_that_no_passage_holds_and_repetitions() -> None:
    context = FusionContext.of_terms(["house", "house", "qwx"], [10, 10, 0], 100, is_language_covered=True)
    assert context.full_match_score == pytest.approx(2 * idf(100, 10) + idf(100, 0))
    assert context.is_language_covered is True
    assert context.identifier_share == 0.0


def test_context_identifier_share_counts_codes_that_some_passage_holds() -> None:
    terms, frequencies = ["invoic", "dte-33", "f29"], [40, 2, 0]
    context = FusionContext.of_terms(terms, frequencies, 100, is_language_covered=None)
    total = idf(100, 40) + idf(100, 2) + idf(100, 0)
    assert context.identifier_share == pytest.approx(idf(100, 2) / total)


def test_context_plain_numbers_are_no_identifiers() -> None:
    context = FusionContext.of_terms(["1999", "3.14"], [1, 1], 100, is_language_covered=None)
    assert context.identifier_share == 0.0


def test_context_of_a_query_without_terms_knows_no_full_match() -> None:
    assert FusionContext.of_terms([], [], 100, is_language_covered=False) == FusionContext(False)


@pytest.mark.parametrize(
    ("language", "model_languages", "expected"),
    [
        ("en", ("en",), True),
        ("en-US", ("en",), True),
        ("es", ("en", "ES-mx"), True),
        ("es", ("en",), False),
        ("mul", ("en",), None),
        ("es", (), None),
    ],
)
def test_language_is_covered_when_the_model_names_it(
    language: str, model_languages: tuple[str, ...], expected: bool | None
) -> None:
    assert is_language_covered(language, model_languages) is expected


def test_pooled_context_holds_against_a_leg_only_what_all_collections_do() -> None:
    spanish = FusionContext(False, 20.0, 0.5)
    assert FusionContext.pooled([spanish]) == spanish
    assert FusionContext.pooled([spanish, spanish]) == spanish
    assert FusionContext.pooled([spanish, FusionContext(True, 12.0)]) == FusionContext(None, 12.0, 0.0)
    assert FusionContext.pooled([spanish, FusionContext(False)]) == FusionContext(False)
    assert FusionContext.pooled([]) == FusionContext()
