from __future__ import annotations

import pytest

from rag_server.text.language import detect_language


@pytest.mark.parametrize(
    "question", ["¿Quién fue Tesla?", "que es el IVA", "cuando termina el plazo", "año tributario", "¿Tesla?"]
)
def test_detect_spanish_question_is_es(question: str) -> None:
    assert detect_language(question) == "es"


@pytest.mark.parametrize("question", ["Who was Tesla?", "when did it end", "WHAT IS VAT", "How much is it?"])
def test_detect_english_question_is_en(question: str) -> None:
    assert detect_language(question) == "en"


@pytest.mark.parametrize("text", ["", "Tesla", "DTE-33 F29", "東京", "12 / 4", "a"])
def test_detect_without_evidence_is_empty(text: str) -> None:
    assert detect_language(text) == ""


def test_detect_as_much_for_both_is_empty() -> None:
    assert detect_language("the los") == ""
