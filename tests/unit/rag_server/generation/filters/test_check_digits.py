from __future__ import annotations

import pytest

from rag_server.generation.filters.check_digits import (
    curp_holds,
    dni_holds,
    iban_holds,
    luhn_holds,
    nie_holds,
)


@pytest.mark.parametrize("digits", ["4111111111111111", "378282246310005", "79927398713"])
def test_luhn_holds_for_its_digit_and_no_other(digits: str) -> None:
    assert [luhn_holds(digits[:-1] + str(last)) for last in range(10)].count(True) == 1
    assert luhn_holds(digits)


def test_iban_holds_for_its_digits_and_not_for_swapped_ones() -> None:
    assert iban_holds("ES9121000418450200051332")
    assert not iban_holds("ES9121000418450200051323")


def test_dni_and_nie_have_one_letter() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert [each for each in letters if dni_holds("12345678", each)] == ["Z"]
    assert [each for each in letters if nie_holds("X", "1234567", each)] == ["L"]


def test_curp_holds_for_its_digit_and_no_other() -> None:
    assert [digit for digit in range(10) if curp_holds(f"HEGG560427MVZRRL0{digit}")] == [4]
