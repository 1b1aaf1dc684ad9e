"""Check digits, by which a number that identifies somebody is told from any other.

Cards: Luhn, US patent 2 950 048 and ISO/IEC 7812-1, annex B. IBAN: ISO 13616 with ISO/IEC 7064, MOD 97-10.
DNI and NIE: Spain, Real Decreto 1553/2005, modulus 23. CURP: Mexico, Instructivo Normativo of RENAPO,
modulus 10.
"""

from __future__ import annotations

from itertools import cycle
from typing import Final

_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
_NIE_DIGITS: Final = {"X": "0", "Y": "1", "Z": "2"}
_CURP_VALUES: Final = {sign: value for value, sign in enumerate("0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ")}
_CURP_LENGTH: Final = 18


def luhn_holds(digits: str) -> bool:
    """Whether the last of `digits` is their check digit."""
    weighted = (int(digit) * weight for digit, weight in zip(reversed(digits), cycle((1, 2)), strict=False))
    return sum(each - 9 if each > 9 else each for each in weighted) % 10 == 0  # noqa: PLR2004 - two digits' sum


def iban_holds(iban: str) -> bool:
    """Whether an IBAN without spaces, in capitals, has the right check digits."""
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def dni_holds(digits: str, letter: str) -> bool:
    """Whether a capital is the letter of the eight digits of a DNI."""
    return _DNI_LETTERS[int(digits) % len(_DNI_LETTERS)] == letter


def nie_holds(first: str, digits: str, letter: str) -> bool:
    """Whether a capital is the letter of a NIE: X, Y or Z, and seven digits."""
    return dni_holds(_NIE_DIGITS[first] + digits, letter)


def curp_holds(curp: str) -> bool:
    """Whether the last of 18 signs, in capitals, is the check digit of the others."""
    total = sum(
        _CURP_VALUES[sign] * (_CURP_LENGTH - place) for place, sign in enumerate(curp[: _CURP_LENGTH - 1])
    )
    return str((10 - total % 10) % 10) == curp[-1]
