"""Takes the courtesies off a question: "Hello, could you tell me ..., please?" asks for what is in between.

Sentences are scored by the share of the question's information that they cover (`evidence.py`), and no
document greets: each such word, rare as it is, would speak against every sentence.
"""

from __future__ import annotations

import re
from typing import Final

_GREETING: Final = r"""
    hello | hi(?:\ there)? | hey(?:\ there)? | good\ (?:morning|afternoon|evening|day)
    | hola | buen[oa]s\ (?:d[ií]as|tardes|noches)
"""
_OPENING: Final = rf"""
    {_GREETING}
    | (?:can|could|would|will)\ you\ (?:please\ )?(?:tell|explain\ to)\ me | please\ tell\ me
    | i(?:'d|’d|\ would)\ like\ to\ know | i\ (?:want|wanted|need)\ to\ know | do\ you\ know
    | (?:me\ )?(?:puede|puedes|pueden|podr[ií]a|podr[ií]as|podr[ií]an)\ (?:decir|indicar|explicar)(?:me|nos)?
    | (?:quer[ií]a|querr[ií]a|quisiera|quiero|necesito|me\ gustar[ií]a)\ saber
    | dime | d[ií]game | por\ favor
"""
_CLOSING: Final = (
    r"please | thanks(?:\ in\ advance)? | thank\ you | por\ favor | gracias(?:\ de\ antemano)? | saludos"
)
_MARKS: Final = r"[\s,;.:!¡¿?…-]*"

_BEFORE: Final = re.compile(
    rf"{_MARKS}(?: (?:{_OPENING}) (?![\w-]) | (?:please|buen[oa]s|thanks|gracias) (?=\s*[,;.:!…]) )",
    re.IGNORECASE | re.VERBOSE,
)
_AFTER: Final = re.compile(
    rf"[\s,;.:!?…]+ (?:muchas\ |many\ )?(?:{_CLOSING}) {_MARKS}$", re.IGNORECASE | re.VERBOSE
)


_LONGEST_CLOSING: Final = 64
"""Code points, with the signs around it: what is nothing but signs must not be searched from each of them."""


def without_courtesies(question: str) -> str:
    """Return what `question` (Spanish or English) asks, or all of it where it is nothing but courtesies."""
    start, end = 0, len(question)
    while (before := _BEFORE.match(question, start)) is not None:
        start = before.end()
    while (after := _AFTER.search(question, max(start, end - _LONGEST_CLOSING), end)) is not None:
        end = after.start()
    core = question[start:end]
    if start:
        core = core.lstrip(" ,;.:!…-")
    return core if any(map(str.isalnum, core)) else question
