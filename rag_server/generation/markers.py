"""Finds the markers by which a model names its sources, `[1]` or `[1, 3]`, in a stream of text.

Models write them in many ways: `[1-3]`, `[^1]`, `[Source 2]`, `([1])`, `[1], [2]`. What stands around markers
or between them for their sake goes with them. Code is left alone. Each place is decided by the characters
from there on: however the stream is cut, the result is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from rag_server.generation.code_pieces import CodePiece, CodePieces

MAX_NUMBERS: Final = 32
"""Of one marker."""
MAX_SPACE: Final = 64
"""White space before a marker that goes with it, in code points."""

_LABELS: Final = ("source", "sources", "source id", "fuente", "fuentes", "doc", "document", "documento")
_LABEL: Final = f"(?:{'|'.join(sorted(_LABELS, key=len, reverse=True))})"
_LABEL_START: Final = f"(?:{'|'.join(sorted({each for label in _LABELS for each in accumulate(label)}))})"
_TO: Final = r"[-\u2010-\u2013]"
_COMMA: Final = rf"[ ]?(?:[,;]|{_TO})[ ]?"
_ITEM: Final = rf"(?:{_LABEL}[ ]?[:=#]?[ ]?)?\d{{1,3}}"
_ONE: Final = rf"[\[【][ ]?\^?{_ITEM}(?:{_COMMA}{_ITEM}){{0,{MAX_NUMBERS - 1}}}[ ]?[\]】]"
_ONE_START: Final = (
    rf"[\[【][ ]?\^?(?:{_ITEM}{_COMMA}){{0,{MAX_NUMBERS - 1}}}"
    rf"(?:{_ITEM}(?:[ ]|{_COMMA})?|{_LABEL_START}[ ]?[:=#]?[ ]?)?"
)
_LINK: Final = r"(?:[ ]?[,;&][ ]?|[ ](?:and|y|e)[ ])"
_LINK_START: Final = r"(?:[ ]?[,;&]?[ ]?|[ ](?:a|an|and|y|e)[ ]?)"
_SEVERAL: Final = rf"{_ONE}(?:{_LINK}?{_ONE}){{0,9}}"
_SEVERAL_START: Final = rf"(?:{_ONE}{_LINK}?){{0,9}}(?:{_ONE_START}|{_ONE}{_LINK_START})?"
_WRAPS: Final = ((r"\(", r"\)"), (r"\[", r"\]"), (r"\*\*", r"\*\*"))

MARKER: Final = re.compile(_ONE, re.IGNORECASE)
"""One marker, as prose has it; `numbers_of` tells whether its numbers are some."""

_FORM: Final = re.compile(
    "|".join((*(f"{before}{_SEVERAL}{after}" for before, after in _WRAPS), _ONE)), re.IGNORECASE
)
_START: Final = re.compile(
    "|".join(
        (
            *(f"{before}{_SEVERAL_START}" for before, _ in _WRAPS),
            rf"\*|\*\*{_SEVERAL}\*",
            _ONE_START,
        )
    ),
    re.IGNORECASE,
)
_LINKED: Final = re.compile(_LINK, re.IGNORECASE)
_MAY_LINK: Final = re.compile(_LINK_START, re.IGNORECASE)
_OPENING: Final = re.compile(r"[\[【(*]")
_RANGE: Final = re.compile(rf"(\d+)(?:[ ]?({_TO})[ ]?{_LABEL}?[ ]?[:=#]?[ ]?(?=\d))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker, or several in one pair of brackets."""

    numbers: tuple[int, ...]
    """As the model wrote them, 1-based."""
    space: str
    """What goes with it before it: white space, or what links it to the marker before."""
    text: str
    """As it stands there."""


def numbers_of(text: str) -> tuple[int, ...]:
    """Return the numbers that the text of a marker names, each once; none: it is an interval, say."""
    numbers: list[int] = []
    first: int | None = None
    for match in _RANGE.finditer(text):
        last = int(match.group(1))
        numbers += range(last if first is None else first, min(last, (first or last) + MAX_NUMBERS) + 1)
        if first is not None and not first < last < first + MAX_NUMBERS:
            return ()
        first = last if match.group(2) else None
    # Sources count from 1: `[0, 1]` and `[0-5]` are of something else, `[0]` of a model that miscounts.
    return () if len(numbers) > 1 and numbers[0] == 0 else tuple(dict.fromkeys(numbers))


class MarkerParser:
    """Takes an answer apart: `feed` it the pieces, then `end`."""

    def __init__(self) -> None:
        self._code = CodePieces()
        self._prose = _ProseParser()

    @property
    def is_in_code(self) -> bool:
        """Whether a block of code has begun and not ended."""
        return self._code.is_in_block

    def feed(self, text: str) -> list[str | Marker]:
        """Return the texts and markers that can be told for sure."""
        return list(self._taken(self._code.feed(text)))

    def end(self) -> list[str | Marker]:
        """Return the rest: nothing more comes."""
        return [*self._taken(self._code.end()), *self._prose.advance(at_end=True)]

    def _taken(self, pieces: Iterable[CodePiece]) -> Iterator[str | Marker]:
        for text, is_code in pieces:
            if is_code:
                yield from self._prose.advance(at_end=True)
                yield text
            else:
                yield from self._prose.advance(text)


class _ProseParser:
    def __init__(self) -> None:
        self._rest = ""
        self._is_after_marker = False
        """Whether `_rest` follows a marker."""

    def advance(self, more: str = "", *, at_end: bool = False) -> Iterator[str | Marker]:
        """Take more text, which may be the last before code; yield what is decided."""
        text, position, shown = self._rest + more, 0, 0
        self._rest = text
        while (opening := _OPENING.search(text, position)) is not None:
            start = opening.start()
            form = _FORM.match(text, start)
            numbers = numbers_of(form.group()) if form else ()
            if not numbers and (form or at_end or not _START.fullmatch(text, start)):
                position = start + 1
                continue
            before = self._before(text, shown, start)
            if before > shown:
                yield self._told(text[shown:before])
            if not (form and numbers):
                self._rest = text[before:]
                return
            yield Marker(numbers, text[before:start], form.group())
            self._is_after_marker = True
            position = shown = form.end()
        end = len(text) if at_end else self._before(text, shown, len(text))
        if end > shown:
            yield self._told(text[shown:end])
        self._rest = text[end:]

    def _told(self, text: str) -> str:
        self._is_after_marker = False
        return text

    def _before(self, text: str, start: int, end: int) -> int:
        """Return where what goes with a marker at `end`, or may do so, begins: a link, or white space."""
        is_link = _MAY_LINK if end == len(text) else _LINKED
        if self._is_after_marker and is_link.fullmatch(text, start, end):
            return start
        start = max(start, end - MAX_SPACE)
        return start + len(text[start:end].rstrip(" \t"))
