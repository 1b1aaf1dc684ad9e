"""The numbers of a text by their value, however they are written: `1,500`, `1.500`, `mil quinientos`.

English and Spanish. A number may be read in two ways, `1.500` as a thousand and a half or as one and a
half: then it has both values, and it is like another one that has either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rag_server.domain.document import Span

Values = frozenset[float]

_UNITS: Final = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
    "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8, "nueve": 9, "diez": 10,
    "once": 11, "doce": 12, "trece": 13, "catorce": 14, "quince": 15, "dieciséis": 16, "diecisiete": 17,
    "dieciocho": 18, "diecinueve": 19, "veintiuno": 21, "veintiún": 21, "veintidós": 22, "veintitrés": 23,
    "veinticuatro": 24, "veinticinco": 25, "veintiséis": 26, "veintisiete": 27, "veintiocho": 28,
    "veintinueve": 29,
}  # fmt: skip
_TENS: Final = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90, "veinte": 20, "treinta": 30, "cuarenta": 40, "cincuenta": 50, "sesenta": 60, "setenta": 70,
    "ochenta": 80, "noventa": 90,
}  # fmt: skip
_HUNDREDS: Final = {
    "doscientos": 200, "doscientas": 200, "trescientos": 300, "trescientas": 300, "cuatrocientos": 400,
    "cuatrocientas": 400, "quinientos": 500, "quinientas": 500, "seiscientos": 600, "seiscientas": 600,
    "setecientos": 700, "setecientas": 700, "ochocientos": 800, "ochocientas": 800, "novecientos": 900,
    "novecientas": 900,
}  # fmt: skip
_SCALES: Final = {
    "hundred": 100, "cien": 100, "ciento": 100, "cientos": 100, "thousand": 1000, "mil": 1000, "miles": 1000,
    "million": 10**6, "millón": 10**6, "millones": 10**6, "billion": 10**9, "billón": 10**12,
    "billones": 10**12, "trillion": 10**12,
}  # fmt: skip
_ONE: Final = {"one": 1, "a": 1, "un": 1, "uno": 1, "una": 1}
"""Articles as often as numbers: they count with a scale only, as in `a million`."""
_AND: Final = frozenset({"and", "y"})

_WORDS: Final = _UNITS | _TENS | _HUNDREDS
_TOKEN: Final = re.compile(
    r"(?P<digits>(?<![\w.,])\d{1,3}(?: \d{3})+(?![\d.,])|(?<![\w.,])\d+(?:[.,'\u00a0\u202f]\d+)*"
    r"|(?<=[^\W\d_])\d+|(?<=-)\d+(?:[.,]\d+)*)"
    r"|(?P<word>[^\W\d_]+)"
)
_GROUPED: Final = re.compile(r"\d{1,3}(?:[ .,'\u00a0\u202f]\d{3})+")
_SEPARATOR: Final = re.compile(r"[ .,'\u00a0\u202f]")
_DECIMAL: Final = re.compile(r"(\d.*)[.,](\d+)")
_GAP: Final = re.compile(r"[\s\u00a0-]{1,2}")
_MAX_DIGITS: Final = 15
"""Longer ones are keys rather than quantities: they are alike when their digits are."""
_COMPARED_DIGITS: Final = 100
_GREATEST: Final = 10**15
"""Of what words make; beyond it they are no number that anybody means."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text."""

    span: Span
    values: Values


def numbers_in(text: str) -> list[Number]:
    """Return the numbers of `text` in order. `one`, `un` and `una` by themselves are none."""
    return list(_combined(text, list(_TOKEN.finditer(text))))


def _combined(text: str, tokens: list[re.Match[str]]) -> Iterator[Number]:
    """Join what belongs together: tens and units, numbers and the scales after them."""
    position = 0
    while position < len(tokens):
        end, values = _read(text, tokens, position)
        if values:
            yield Number(Span(tokens[position].start(), tokens[end - 1].end()), values)
        position = max(end, position + 1)


def _read(text: str, tokens: list[re.Match[str]], start: int) -> tuple[int, Values]:
    """Return the end of the number that begins at token `start`, and its values; none: it is no number."""
    first = tokens[start]
    if first["digits"] is not None:
        values, end = _values_of(first["digits"]), start + 1
        while max(values) < _GREATEST and (scale := _scale_at(text, tokens, end)) is not None:
            values, end = frozenset(each * scale for each in values), end + 1
        return end, values
    return _read_words(text, tokens, start)


def _read_words(text: str, tokens: list[re.Match[str]], start: int) -> tuple[int, Values]:
    total, group, end, is_number = 0, 0, start, False
    while end < len(tokens) and (end == start or _is_next(text, tokens, end)) and total < _GREATEST:
        word = (tokens[end]["word"] or "").lower()
        value = _WORDS.get(word)
        scale = _SCALES.get(word)
        if value is not None:
            if group % 100 and not (group % 10 == 0 and value < 10):  # noqa: PLR2004 - `twenty two`
                break
            group, is_number = group + value, True
        elif scale == 100 and (group or word != "cientos"):  # noqa: PLR2004 - `two hundred`, `ciento dos`
            group, is_number = max(group, 1) * 100, True
        elif scale is not None and (group or total or word != "miles"):
            if group or not total:
                total += max(group, 1) * scale
            else:
                total *= scale  # `mil millones`
            group, is_number = 0, True
        elif word in _ONE and _scale_at(text, tokens, end + 1) is not None and end == start:
            group = 1
        elif not (word in _AND and is_number and _continues(text, tokens, end + 1, group)):
            break
        end += 1
    return (end, frozenset({float(total + group)})) if is_number else (start + 1, frozenset())


def _continues(text: str, tokens: list[re.Match[str]], position: int, group: int) -> bool:
    """Whether the word after an `and` is a part of the number: `treinta y cinco`, `two hundred and six`."""
    if position >= len(tokens) or not _is_next(text, tokens, position):
        return False
    value = _WORDS.get((tokens[position]["word"] or "").lower())
    if value is None:
        return False
    is_unit_of_tens = group % 100 >= 20 and group % 10 == 0 and value < 10  # noqa: PLR2004
    return is_unit_of_tens or (group >= 100 and group % 100 == 0 and value < 100)  # noqa: PLR2004


def _scale_at(text: str, tokens: list[re.Match[str]], position: int) -> int | None:
    if position >= len(tokens) or not _is_next(text, tokens, position):
        return None
    return _SCALES.get((tokens[position]["word"] or "").lower())


def _is_next(text: str, tokens: list[re.Match[str]], position: int) -> bool:
    """Whether only a space or a hyphen stands before a token."""
    gap = text[tokens[position - 1].end() : tokens[position].start()]
    return _GAP.fullmatch(gap) is not None


def _values_of(digits: str) -> Values:
    bare = _SEPARATOR.sub("", digits)
    if len(bare) > _MAX_DIGITS:
        return frozenset({float(bare[:_COMPARED_DIGITS])})
    values = set()
    if _GROUPED.fullmatch(digits) or bare == digits:
        values.add(float(bare))
    if (decimal := _DECIMAL.fullmatch(digits)) is not None:
        values.add(float(f"{_SEPARATOR.sub('', decimal[1])}.{decimal[2]}"))
    return frozenset(values or {float(bare)})  # `5'10` is neither grouped nor a decimal
