"""Puts citation markers into an answer while it streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from rag.v1.generate_service_pb2 import Citation, CitationOrigin

_MARKER: Final = re.compile(r"\[\d{1,4}(?:, \d{1,4})*\]")
_DIGITS: Final = re.compile(r"\d+")

LOST = " […] "
"""Stands where a part of the answer is missing."""


class CitedText:
    """Writes the pieces of an answer with `[1]` after each cited span.

    A citation comes after the text that it cites, so the last piece is held back until the next event shows
    whether a marker belongs into it; text is never more than one piece late. Sources are numbered from 1
    in the order in which they are first cited. Where the answer has the markers of its model, these are not
    written again, and the numbers are theirs: the places of the sources.
    """

    def __init__(
        self,
        write_text: Callable[[str], None],
        write_marker: Callable[[str], None],
        *,
        has_markers: bool = False,
    ) -> None:
        self._write_text = write_text
        self._write_marker = write_marker
        self._has_markers = has_markers
        self._numbers: dict[int, int] = {}
        self._written = 0
        """Code points of the answer that have been written."""
        self._held = ""
        self._marks: list[tuple[int, int]] = []
        """End of a cited span and the source's number, for what has not been written."""
        self._placed: set[tuple[int, int]] = set()

    @property
    def is_empty(self) -> bool:
        """Whether no text has come yet."""
        return self._written == 0 and not self._held

    @property
    def numbers(self) -> dict[int, int]:
        """0-based index of each cited source to its number, in order of number."""
        return dict(sorted(self._numbers.items(), key=lambda item: item[1]))

    def add(self, text: str) -> None:
        """Take the next piece of the answer."""
        self.flush()
        self._held = text

    def skip_to(self, offset: int) -> None:
        """Take it that the answer goes on at `offset`: what comes before it has been lost."""
        self.flush()
        if offset > self._written:
            self._write_text(LOST)
            self._written = offset

    def cite(self, citation: Citation) -> None:
        """Take a citation of text that has come."""
        index = citation.source_index
        number = self._numbers.setdefault(index, index + 1 if self._has_markers else len(self._numbers) + 1)
        if self._has_markers and citation.origin == CitationOrigin.CITATION_ORIGIN_MARKER:
            return
        mark = (citation.answer_span.end, number)
        if mark in self._placed:
            return
        self._placed.add(mark)
        self._marks.append(mark)
        if citation.answer_span.end >= self._written + len(self._held):
            self.flush()

    def flush(self) -> None:
        """Write what is held back, with its markers."""
        for end, number in sorted(self._marks, key=lambda mark: mark[0]):
            # A marker for text that is already out goes to the next place there is.
            cut = min(max(0, end - self._written), len(self._held))
            self._emit(cut)
            self._write_marker(f"[{number}]")
        self._marks.clear()
        self._emit(len(self._held))

    def _emit(self, count: int) -> None:
        if count:
            self._write_text(self._held[:count])
            self._held = self._held[count:]
            self._written += count


def has_markers(answer: str, citations: Iterable[Citation]) -> bool:
    """Return whether an answer that was kept has the markers by which its model named sources."""
    named = {
        each.source_index + 1 for each in citations if each.origin == CitationOrigin.CITATION_ORIGIN_MARKER
    }
    return any(named & {int(number) for number in _DIGITS.findall(each)} for each in _MARKER.findall(answer))
