"""Reads lists that models write: a line each, without what they put around it."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_BULLET: Final = re.compile(r"\A\s*(?:[-*•–]|\d{1,2}[.):])\s+")
_QUOTES: Final = "\"'`“”«»*_ "


def lines_of(text: str, *, max_count: int, max_characters: int, is_whole: bool = True) -> list[str]:
    """Return up to `max_count` different lines of `text`, none longer than `max_characters`.

    Bullets, numbers, and quotes around a line are taken off. Headings, which end with a colon, and lines that
    are too long are left out; so is the last one where the text `is_whole` not, since it may be cut.
    """
    found: dict[str, str] = {}
    rows = text.splitlines()
    for row in rows if is_whole else rows[:-1]:
        line = one_line(_BULLET.sub("", row)).strip(_QUOTES)
        if any(map(str.isalnum, line)) and line[-1] != ":" and len(line) <= max_characters:
            found.setdefault(line.casefold(), line)
    return list(found.values())[:max_count]


def one_line(text: str) -> str:
    """Return `text` on one line, without controls and what turns the direction of text."""
    shown = "".join(
        " " if unicodedata.category(character) in {"Cc", "Zl", "Zp"} else character
        for character in text
        if unicodedata.category(character) not in {"Cf", "Cs", "Co", "Cn"}
    )
    return " ".join(shown.split())
