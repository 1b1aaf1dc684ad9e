"""Text normalisation: NFC, one kind of line end, no control characters. It comes before any span exists."""

from __future__ import annotations

import functools
import re
import unicodedata

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # controls, without tab and line feed
    "\u00ad\ufeff"  # soft hyphen, byte order mark
    "\ud800-\udfff"  # surrogates: not encodable
    "\ufdd0-\ufdef\ufffe\uffff]"  # noncharacters
)
_MAX_MARKS = 30
"""Combining marks kept in a row: the bound of the Stream-Safe Text Format, Unicode Standard Annex #15."""


def normalize(text: str) -> str:
    """Return `text` in NFC, with line feeds as line ends and without control characters. Idempotent.

    Runs of more than 30 combining marks are cut to 30, because sorting them into canonical order takes
    time that grows with the square of their number.
    """
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
