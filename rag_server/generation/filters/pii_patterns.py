"""What identifies or reaches a person: the forms of such texts, each with a bounded length.

A pattern proposes, a check decides: by check digits where there are any. Where a text has several words, as
`+34 600 123 456` has, each of them has a digit, or four capitals at most: streams depend on it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rag_server.generation.filters.check_digits import (
    curp_holds,
    dni_holds,
    iban_holds,
    luhn_holds,
    nie_holds,
)

REACH: Final = 512
"""Longer than any of them."""

Check = Callable[[re.Match[str]], int | None]
"""Returns where what was proposed ends; None: it is something else."""


@dataclass(frozen=True, slots=True)
class PiiPattern:
    """One form of one kind."""

    kind: str
    pattern: re.Pattern[str]
    check: Check


_GAPS: Final = " \u00a0\u202f-\u2010\u2011"
"""Between the groups of a number: spaces, also those that keep a line together, and hyphens."""
_GAP: Final = f"[{re.escape(_GAPS)}]"
_DOT: Final = f"[.{re.escape(_GAPS)}]"
_CARD_DIGITS: Final = range(13, 20)
_PHONE_DIGITS: Final = range(8, 16)
_MIN_IPV6_GROUPS: Final = 3
_IBAN_LENGTHS: Final[Mapping[str, int]] = {
    country: int(length)
    for length, countries in (
        line.split(":")
        for line in """
15:NO|16:BE|18:DK FI FK FO GL NL SD|19:MK SI|20:AT BA EE KZ LT LU MN XK|21:CH CR HR LI LV
22:BG BH DE GB GE IE ME RS VA|23:AE GI IL IQ OM SO TL|24:AD CZ ES MD PK RO SA SE SK TN VG
25:LY PT ST|26:IS TR|27:BI DJ FR GR IT MC MR SM|28:AL AZ BY CY DO GT HU LB NI PL SV
29:BR EG PS QA UA|30:JO KW MU|31:MT SC|32:LC|33:RU""".replace("\n", "|")
        .strip("|")
        .split("|")
    )
    for country in countries.split()
}
"""Of the registry of SWIFT, in signs without spaces."""


def _any(match: re.Match[str]) -> int | None:
    return match.end()


def _phone(match: re.Match[str]) -> int | None:
    return match.end() if len(re.sub(r"\D", "", match.group())) in _PHONE_DIGITS else None


def _card(match: re.Match[str]) -> int | None:
    """Return the end of the longest card number that ends with one of the groups of digits."""
    text = match.group()
    for end in sorted({len(text), *(gap.start() for gap in re.finditer(_GAP, text))}, reverse=True):
        digits = re.sub(r"\D", "", text[:end])
        if len(digits) in _CARD_DIGITS and len(set(digits)) > 1 and luhn_holds(digits):
            return match.start() + end
    return None


def _iban(match: re.Match[str]) -> int | None:
    """Return the end of an IBAN by the length of its country; one with spaces is in capitals."""
    text, start = match.string, match.start()
    length = _IBAN_LENGTHS.get(match.group()[:2].upper(), 0)
    signs, position, has_gaps = "", start, False
    while position < len(text) and len(signs) < length:
        sign = text[position]
        if sign in _GAPS and signs and text[position - 1] not in _GAPS:
            has_gaps = True
        elif sign.isascii() and sign.isalnum():
            signs += sign
        else:
            return None
        position += 1
    is_whole = length == len(signs) and not re.match(r"\w", text[position : position + 1])
    if not is_whole or not length or (has_gaps and signs != signs.upper()):
        return None
    return position if iban_holds(signs.upper()) else None


def _dni(match: re.Match[str]) -> int | None:
    digits = re.sub(r"\D", "", match.group(1))
    return match.end() if dni_holds(digits, match.group(2).upper()) else None


def _nie(match: re.Match[str]) -> int | None:
    first, digits, letter = (group.upper() for group in match.groups() if group is not None)
    return match.end() if nie_holds(first, digits, letter) else None


def _curp(match: re.Match[str]) -> int | None:
    curp = match.group()
    return match.end() if curp.isascii() and curp_holds(curp.upper()) else None


def _ip(match: re.Match[str]) -> int | None:
    text = match.group()
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return None
    is_short = ":" in text and len([group for group in text.split(":") if group]) < _MIN_IPV6_GROUPS
    return None if is_short else match.end()


def _pattern(kind: str, pattern: str, check: Check = _any, *, any_case: bool = False) -> PiiPattern:
    return PiiPattern(kind, re.compile(pattern, re.IGNORECASE if any_case else 0), check)


_DATE: Final = r"\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_LETTER: Final = "[A-HJ-NP-TV-Z]"

PATTERNS: Final[tuple[PiiPattern, ...]] = (
    _pattern("email", r"[\w.%+'-]{1,64}@(?:[\w-]{1,63}\.){1,5}[^\W\d_]{2,24}"),
    _pattern("iban", rf"(?<!\w)[A-Z]{{2}}\d{{2}}(?={_GAP}?\w)", _iban, any_case=True),
    _pattern("card", rf"(?<![\w])[2-6]\d{{3}}(?:{_GAP}?\d){{9,15}}(?!\w)", _card),
    _pattern("dni", rf"(?<!\w)(\d{{8}}|\d\d\.\d{{3}}\.\d{{3}})(?:-?({_LETTER}))(?!\w)", _dni, any_case=True),
    _pattern("dni", rf"(?<!\w)(\d{{8}}|\d\d\.\d{{3}}\.\d{{3}}) ({_LETTER})(?!\w)", _dni),
    _pattern("nie", rf"(?<!\w)([XYZ])-?(\d{{7}})-?({_LETTER})(?!\w)", _nie, any_case=True),
    _pattern("nie", rf"(?<!\w)([XYZ]){_GAP}?(\d{{7}}){_GAP}?({_LETTER})(?!\w)", _nie),
    _pattern(
        "curp",
        rf"(?<!\w)[A-Z][AEIOUX][A-Z]{{2}}{_DATE}[HMX][A-Z]{{2}}[B-DF-HJ-NP-TV-Z]{{3}}[0-9A-Z]\d(?!\w)",
        _curp,
        any_case=True,
    ),
    _pattern("rfc", rf"(?<!\w)[A-ZÑ&]{{3,4}}{_DATE}[A-Z0-9]{{2}}[0-9A](?!\w)", any_case=True),
    _pattern("ssn", r"(?<![\w-])(?!000|666|9\d\d)\d{3}([- ])(?!00)\d\d\1(?!0000)\d{4}(?!\w|-\d)"),
    _pattern("ip", r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)", _ip),
    _pattern("ip", r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", _ip, any_case=True),
    _pattern(
        "phone", rf"(?<![\w+])(?:\+|00)[1-9]\d{{0,2}}\)?(?:{_DOT}?\(?\d{{1,4}}\)?){{2,6}}(?!\w)", _phone
    ),
    _pattern("phone", rf"(?<![\w.,-])[6-9]\d{{2}}{_DOT}?\d{{3}}{_DOT}?\d{{3}}(?!\w|[.,-]\d)"),
    _pattern("phone", rf"(?<![\w.,-])[6-9]\d\d{_DOT}\d\d{_DOT}\d\d{_DOT}\d\d(?!\w|[.,-]\d)"),
    _pattern("phone", rf"(?<![\w.,-])\(?\d{{3}}\)?{_DOT}\d{{3}}{_DOT}\d{{4}}(?!\w|[.,-]\d)"),
    _pattern("phone", rf"(?<![\w.,-])\(?\d{{2}}\)?{_DOT}\d{{4}}{_DOT}\d{{4}}(?!\w|[.,-]\d)"),
    _pattern(
        "phone",
        rf"(?<![\w.,-])(?:[89]\d{_DOT}|\([89]\d\){_DOT}?)(?:\d{{7}}|\d{{3}}{_DOT}\d\d{_DOT}\d\d)(?!\w|[.,-]\d)",
    ),
)
"""In the order in which they are asked: of two kinds that fit the same text, the first names it."""

KINDS: Final[tuple[str, ...]] = tuple(dict.fromkeys(each.kind for each in PATTERNS))
