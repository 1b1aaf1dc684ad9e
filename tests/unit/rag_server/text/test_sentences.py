from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.text.sentences import split_sentences


def sentences(text: str) -> list[str]:
    return [text[span.start : span.end] for span in split_sentences(text)]


@pytest.mark.parametrize(
    "sentence",
    [
        "El Sr. Pérez y la Dra. Soto llegaron.",
        "Nació en EE. UU. en 1990.",
        "Comió p. ej. 3.14 kg de pan.",
        "It is used, e.g. by Dr. Smith, daily.",
        "J. R. R. Tolkien wrote it.",
        "The U.S. Army came on Jan. 5 with No. 7.",
        "Según el art. 5 de la ley, págs. 10 y 11.",
        "She asked… and left.",
        "«¿Qué?» dijo ella.",
        "Version 1.2.3 is out at example.com now.",
    ],
)
def test_split_dots_inside_a_sentence_do_not_end_it(sentence: str) -> None:
    assert sentences(f"{sentence} Después vino otra.") == [sentence, "Después vino otra."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", ["One.", "Two."]),
        ("¿Qué hizo? ¡Nada! Fin", ["¿Qué hizo?", "¡Nada!", "Fin"]),
        ("He said no. Then he left.", ["He said no.", "Then he left."]),
        ("He went to the U.S. The end.", ["He went to the U.S.", "The end."]),
        ('He said "Hi." Then left.', ['He said "Hi."', "Then left."]),
        ("It is known.[12] It was proven.", ["It is known.[12]", "It was proven."]),
        ("Se fue... Nadie lo vio.", ["Se fue...", "Nadie lo vio."]),
        ("Compró pan, leche, etc. Luego volvió.", ["Compró pan, leche, etc.", "Luego volvió."]),
        ("東京です。大阪です。", ["東京です。", "大阪です。"]),
        ("In 1990. 20 men came.", ["In 1990.", "20 men came."]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_split_closing_punctuation_ends_a_sentence(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_split_blank_line_ends_a_sentence() -> None:
    assert sentences("No stop here\n\nNext paragraph") == ["No stop here", "Next paragraph"]


def test_split_wrapped_lines_are_one_sentence() -> None:
    text = "This is a long line that was wrapped at\nthe margin and goes on to the end.\n"
    assert sentences(text) == [text.strip()]


def test_split_short_line_before_a_capital_is_a_heading() -> None:
    text = "Introduction\nThis is a long line that was wrapped at\nthe margin and goes on to the end."
    assert sentences(text)[0] == "Introduction"


def test_split_list_items_lose_their_markers() -> None:
    assert sentences("- one item\n* two items\n1. third\n(b) fourth") == [
        "one item",
        "two items",
        "third",
        "fourth",
    ]


def test_split_markdown_heading_keeps_its_mark() -> None:
    assert sentences("# Title one\nText follows here.") == ["# Title one", "Text follows here."]


def test_split_table_rows_are_separate() -> None:
    assert sentences("| a | b |\n| c | d |") == ["| a | b |", "| c | d |"]


def test_split_fenced_code_is_cut_by_lines() -> None:
    assert sentences("```sh\npip install x\nmake test\n```\nDone.") == ["pip install x", "make test", "Done."]


@given(st.text(alphabet=st.one_of(st.sampled_from("aA1.?!… \n\"'«)#|-[]。"), st.characters())))
def test_split_any_text_loses_no_word(text: str) -> None:
    spans = split_sentences(text)
    end = 0
    for span in spans:
        assert end <= span.start < span.end
        assert text[span.start : span.end] == text[span.start : span.end].strip()
        end = span.end


@given(st.lists(st.sampled_from(["Uno.", "Dr.", "dos", "EE. UU.", "¿Qué?", "3.5", "\n", "Fin!"])))
def test_split_prose_covers_every_character_that_shows(words: list[str]) -> None:
    text = " ".join(words)
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
