"""Text normalisation: NFC, one kind of line end, no control characters. It comes before any span exists."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # controls, without tab and line feed
    "\u00ad\ufeff"  # soft hyphen, byte order mark
    "\ud800-\udfff"  # surrogates: not encodable
    "\ufdd0-\ufdef\ufffe\uffff]"  # noncharacters
)
_SLICE_CHARACTERS = 65_536
"""Normalised at a time: each step of it holds the interpreter's lock, for some 10 ms with so many."""
_JAMO = range(0x1160, 0x1200)
"""Vowels and final consonants of Hangul: letters that compose with the one before them."""
_MAX_MARKS = 30
"""Combining marks kept in a row: the bound of the Stream-Safe Text Format, Unicode Standard Annex #15."""


def normalize(text: str) -> str:
    """Return `text` in NFC, with line feeds as line ends and without control characters. Idempotent.

    Runs of more than 30 combining marks are cut to 30, because sorting them into canonical order takes
    time that grows with the square of their number.
    """
    return "".join(_normalize(text[start:end]) for start, end in _slices(text))


def _slices(text: str) -> Iterator[tuple[int, int]]:
    """Yield the ranges that `text` is made of; what stands before a cut does not act on what follows."""
    start = 0
    while len(text) - start > _SLICE_CHARACTERS:
        end = start + _SLICE_CHARACTERS
        while end < len(text) and not _stands_alone(text[end]):
            end += 1
        yield start, end
        start = end
    yield start, len(text)


def _stands_alone(character: str) -> bool:
    """Whether `character` neither composes with what comes before it nor is removed or part of a line end."""
    return unicodedata.category(character)[0] in "LNPSZ" and ord(character) not in _JAMO


def _normalize(text: str) -> str:
    text = _REMOVED.sub("", _LINE_ENDS.sub("\n", text))
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _mark_runs().sub(r"\1", text))


@functools.cache
def _mark_runs() -> re.Pattern[str]:
    """Return the pattern of a run of too many combining marks; its group 1 is what may stay."""
    marks = [chr(code) for code in range(0x300, 0x1F000) if unicodedata.combining(chr(code))]
    mark_class = "[" + "".join(marks) + "]"
    return re.compile(f"({mark_class}{{{_MAX_MARKS}}}){mark_class}+")
