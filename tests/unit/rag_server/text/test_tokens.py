from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.text.tokens import TokenKind, iterate_tokens, kind_of, runs


def tokens(text: str) -> list[str]:
    return [text[span.start : span.end] for span in iterate_tokens(text)]


@pytest.mark.parametrize(
    "code", ["DTE-33", "F29", "0043-B", "3.14", "2026-11-21", "v1.2.3", "1,000.50", "RES_EX_43", "C++", "c#"]
)
def test_tokens_code_stays_whole(code: str) -> None:
    assert tokens(f"el ({code}), sí") == ["el", code, "sí"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bien-hecho", ["bien", "hecho"]),
        ("and/or snake_case", ["and", "or", "snake", "case"]),
        ("19th-century", ["19th", "century"]),
        ("COVID-19", ["COVID", "19"]),
        ("v1.2.3-alpha", ["v1.2.3", "alpha"]),
        ("example.com/preguntas/001_030.htm", ["example", "com", "preguntas", "001_030.htm"]),
        ("Tesla's l'homme", ["Tesla", "s", "l", "homme"]),
        ("ends 1.2. Then", ["ends", "1.2", "Then"]),
        ("--- ... ___", []),
        ("", []),
    ],
)
def test_tokens_compound_splits_at_words(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def test_tokens_decomposed_accent_stays_in_word() -> None:
    assert tokens("cancio\u0301n de") == ["cancio\u0301n", "de"]


def test_tokens_soft_hyphen_stays_in_word() -> None:
    assert tokens("co\u00adoperate") == ["co\u00adoperate"]


def test_tokens_unspaced_script_yields_characters() -> None:
    assert tokens("東京tower カタカナ") == ["東", "京", "tower", "カタカナ"]


def test_tokens_indic_marks_stay_in_word() -> None:
    assert tokens("हिन्दी भाषा") == ["हिन्दी", "भाषा"]


@pytest.mark.parametrize(
    ("surface", "kind"),
    [
        ("casa", TokenKind.WORD),
        ("1990", TokenKind.NUMBER),
        ("1,000.5", TokenKind.NUMBER),
        ("2026-11-21", TokenKind.CODE),
        ("F29", TokenKind.CODE),
        ("C++", TokenKind.CODE),
    ],
)
def test_kind_of_surface_tells_words_numbers_codes(surface: str, kind: TokenKind) -> None:
    assert kind_of(surface) is kind


@given(st.text(alphabet=st.one_of(st.sampled_from("a1-._/,+# ñ\u0301東\u00ad"), st.characters())))
def test_tokens_any_text_spans_are_ordered_and_not_empty(text: str) -> None:
    end = 0
    for span in iterate_tokens(text):
        assert end <= span.start < span.end <= len(text)
        end = span.end


def test_runs_hostile_joiners_return_promptly() -> None:
    assert runs("-" * 50_000) == []
    assert len(runs("a-" * 50_000)) == 1
    assert tokens("1\u0301" * 20_000 + "-") == ["1\u0301" * 20_000]
