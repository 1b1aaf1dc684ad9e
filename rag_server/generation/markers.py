"""Finds the markers by which a model names its sources, `[1]` or `[1, 3]`, in a stream of text.

Each place is decided by the characters from there on: however the stream is cut, the result is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_MARKER: Final = re.compile(r"[\[【][ ]?\d{1,3}(?:[ ]?[,;][ ]?\d{1,3}){0,9}[ ]?[\]】]")
_START: Final = re.compile(
    r"[\[【](?:[ ]?(?:\d{1,3}[ ]?[,;][ ]?){0,9}(?:\d{0,3}|\d{1,3}[ ]?|\d{1,3}[ ]?[,;][ ]?))?"
)
_NUMBER: Final = re.compile(r"\d+")
_OPENING: Final = re.compile(r"[\[【]")
MAX_SPACE: Final = 64
"""White space before a marker that goes with it, in code points."""


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker."""

    numbers: tuple[int, ...]
    """As the model wrote them, 1-based."""
    space: str
    """White space before it."""


class MarkerParser:
    """Takes an answer apart: `feed` it the pieces, then `end`."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str | Marker]:
        """Return the texts and markers that can be told for sure."""
        self._rest += text
        return list(self._advance(at_end=False))

    def end(self) -> list[str | Marker]:
        """Return the rest: nothing more comes."""
        return list(self._advance(at_end=True))

    def _advance(self, *, at_end: bool) -> Iterator[str | Marker]:
        text, position, shown = self._rest, 0, 0
        while (opening := _OPENING.search(text, position)) is not None:
            start = opening.start()
            marker = _MARKER.match(text, start)
            if marker is None and (at_end or not _START.fullmatch(text, start)):
                position = start + 1
                continue
            space = _space_before(text, shown, start)
            if space > shown:
                yield text[shown:space]
            if marker is None:
                self._rest = text[space:]
                return
            numbers = dict.fromkeys(int(number) for number in _NUMBER.findall(marker.group()))
            yield Marker(tuple(numbers), text[space:start])
            position = shown = marker.end()
        end = len(text) if at_end else _space_before(text, shown, len(text))
        if end > shown:
            yield text[shown:end]
        self._rest = text[end:]


def _space_before(text: str, start: int, end: int) -> int:
    """Return where the white space begins that ends at `end`: not before `start`, nor far before its end."""
    start = max(start, end - MAX_SPACE)
    return start + len(text[start:end].rstrip(" \t"))
