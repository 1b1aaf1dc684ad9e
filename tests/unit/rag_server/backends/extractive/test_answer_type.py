from __future__ import annotations

import pytest

from rag_server.backends.extractive.answer_type import asks_for_number, has_number


@pytest.mark.parametrize(
    "question",
    [
        "When did Tesla die?",
        "In what year did it end?",
        "How many people came?",
        "What percentage voted?",
        "¿Cuándo murió?",
        "cuando murio",
        "¿En qué año murió?",
        "¿Cuántas personas fueron?",
        "¿Qué porcentaje votó?",
    ],
)
def test_asks_for_number_when_and_how_many_do(question: str) -> None:
    assert asks_for_number(question)


@pytest.mark.parametrize(
    "question",
    ["Who was there when it ended?", "How did it end?", "¿Quién fue?", "¿Qué pasa si llego tarde?", ""],
)
def test_asks_for_number_other_questions_do_not(question: str) -> None:
    assert not asks_for_number(question)


@pytest.mark.parametrize("sentence", ["In 1943.", "Two men.", "Hace tres años.", "A dozen eggs"])
def test_has_number_digits_and_words_count(sentence: str) -> None:
    assert has_number(sentence)


@pytest.mark.parametrize("sentence", ["The onerous task.", "La milicia.", ""])
def test_has_number_parts_of_words_do_not_count(sentence: str) -> None:
    assert not has_number(sentence)
