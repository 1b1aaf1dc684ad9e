from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.backends.extractive.courtesies import without_courtesies


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Hola, buenas tardes, ¿cuánto cuesta el Aurora?", "¿cuánto cuesta el Aurora?"),
        ("hola cuanto cuesta el aurora", "cuanto cuesta el aurora"),
        ("Buenas, ¿abren hoy?", "¿abren hoy?"),
        ("¿Podría decirme, por favor, cuánto cuesta?", "cuánto cuesta?"),
        ("Por favor, dígame qué incluye", "qué incluye"),
        ("Quisiera saber qué garantía tiene. Muchas gracias de antemano.", "qué garantía tiene"),
        ("Hi there! Could you please tell me who approves orders?", "who approves orders?"),
        ("Good morning, I'd like to know when the month closes. Thanks!", "when the month closes"),
        ("Who approves orders, please?", "Who approves orders"),
    ],
)
def test_without_courtesies_what_is_asked_is_left(question: str, asked: str) -> None:
    assert without_courtesies(question) == asked


@pytest.mark.parametrize(
    "question",
    [
        "",
        "?!",
        "hola",
        "Thanks!",
        "Hi-Fi prices",
        "Who drew Hello Kitty?",
        "Buenas prácticas de higiene",
        "¿Gracias a quién ganó?",
        "What do hosts say to please their guests at dinner?",
        " When was the act made?",
    ],
)
def test_without_courtesies_anything_else_stays_as_it_is(question: str) -> None:
    assert without_courtesies(question) == question


@given(st.text(alphabet="hi, ¿?.holaPLEASEplease gracias", max_size=80))
def test_without_courtesies_the_rest_is_a_part_of_the_question(question: str) -> None:
    asked = without_courtesies(question)
    assert asked in question
    assert bool(asked) == bool(question)


def test_without_courtesies_only_the_end_of_a_question_of_signs_is_searched() -> None:
    signs = ", " * 4096
    assert without_courtesies(signs) == signs
    asked = without_courtesies(f"hello{signs}why{signs}please")
    assert asked.startswith("why, ")
    assert not asked.endswith("please")
