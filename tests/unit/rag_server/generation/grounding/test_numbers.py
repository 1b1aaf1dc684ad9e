from __future__ import annotations

import math

import pytest

from rag_server.generation.grounding.numbers import numbers_in


def values_in(text: str) -> list[set[float]]:
    return [set(number.values) for number in numbers_in(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1500", 1500),
        ("1,500", 1500),
        ("1.500", 1500),
        ("1 500", 1500),
        ("1\u00a0500", 1500),
        ("1.5 thousand", 1500),
        ("fifteen hundred", 1500),
        ("mil quinientos", 1500),
        ("one thousand five hundred", 1500),
        ("treinta y cinco", 35),
        ("thirty-five", 35),
        ("two hundred and six", 206),
        ("doscientos seis", 206),
        ("3 millones", 3_000_000),
        ("three million", 3_000_000),
        ("mil millones", 1_000_000_000),
        ("a billion", 1_000_000_000),
        ("un billón", 1_000_000_000_000),
        ("2,5", 2.5),
        ("2.5", 2.5),
        ("19th", 19),
        ("5'10", 510),
        ("12\u00a034", 1234),
        ("٣٥", 35),
    ],
)
def test_number_has_its_value_however_it_is_written(text: str, value: float) -> None:
    (found,) = values_in(text)
    assert value in found


@pytest.mark.parametrize("text", ["one of them", "una vez", "un pan", "no number", "cientas", ""])
def test_text_without_a_number_has_none(text: str) -> None:
    assert values_in(text) == []


def test_number_that_can_be_read_in_two_ways_has_both_values() -> None:
    assert values_in("1.500 or 1,50") == [{1500, 1.5}, {1.5}]


def test_numbers_beside_each_other_stay_apart() -> None:
    assert values_in("in 1901 200 people; two, three; 1914-18") == [{1901}, {200}, {2}, {3}, {1914}, {18}]


def test_number_stands_at_its_span() -> None:
    text = "It has two hundred rooms."
    (number,) = numbers_in(text)
    assert text[number.span.start : number.span.end] == "two hundred"


def test_number_of_many_digits_is_compared_by_its_digits() -> None:
    (number,) = numbers_in("9" * 40)
    assert number.values == {float("9" * 40)}


@pytest.mark.parametrize("text", ["9" * 9000, "thousand " * 200, "5 " + "million " * 200, "1." * 3000 + "1"])
def test_number_beyond_measure_is_read_without_an_error(text: str) -> None:
    assert all(math.isfinite(value) for number in numbers_in(text) for value in number.values)
