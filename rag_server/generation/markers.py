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
_OPENING: Final = re.compile(r"[ \t]*[\[【]|[ \t]+\Z")


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
            start = opening.end() - 1
            if text[start] in " \t":  # white space that may come before a marker
                if not at_end:
                    position = opening.start()
                    break
                position = len(text)
                continue
            marker = _MARKER.match(text, start)
            if marker is not None:
                if opening.start() > shown:
                    yield text[shown : opening.start()]
                numbers = dict.fromkeys(int(number) for number in _NUMBER.findall(marker.group()))
                yield Marker(tuple(numbers), text[opening.start() : start])
                position = shown = marker.end()
            elif not at_end and _START.fullmatch(text, start):
                position = opening.start()
                break
            else:
                position = start + 1
        else:
            position = len(text)
        if position > shown:
            yield text[shown:position]
        self._rest = text[position:]
