"""Cuts an answer into sentences while it is written, and knows which markers belong to which.

The text is looked at after words, wherever the stream was cut, so that the sentences do not depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rag_server.domain.document import Span
from rag_server.text.sentences import split_sentences

MAX_SENTENCE: Final = 2000
"""Code points after which a text without an end is taken as it is."""

_RUN: Final = re.compile(r"\S+|\s+")
_MAY_END: Final = re.compile(r"[.!?…。！？।؟\n]")
_LOOKS: Final = 2
"""Words that tell whether a sentence has ended: the one with its last sign, and the next one. Where neither
has such a sign the text is not cut anew, or an answer without them would be at every word."""


@dataclass(frozen=True, slots=True)
class CitedSentence:
    """A sentence of the answer that is complete."""

    span: Span
    """In the answer as the caller gets it."""
    text: str
    """Without markers."""
    numbers: tuple[int, ...]
    """Of the markers that belong to it, each once, in order."""


class SentenceCutter:
    """Takes an answer's text and markers in order; gives each sentence as soon as the next has begun."""

    def __init__(self) -> None:
        self._tail = ""
        """What has no end yet, without markers."""
        self._anchors: list[tuple[int, int]] = [(0, 0)]
        """Places of the tail with those in the answer: between two of them both advance alike."""
        self._marks: list[tuple[int, tuple[int, ...]]] = []
        self._looks = 0
        """How many words may still tell that a sentence has ended."""

    def add_text(self, text: str) -> Iterator[CitedSentence]:
        """Take a piece of the answer and yield the sentences that it shows to be complete."""
        for run in _RUN.findall(text):
            if run[0].isspace() and self._tail and not self._tail[-1].isspace():
                keep_last = len(self._tail) < MAX_SENTENCE
                if self._looks or not keep_last:
                    self._looks = max(0, self._looks - 1)
                    yield from self._completed(keep_last=keep_last)
            if _MAY_END.search(run):
                self._looks = _LOOKS
            self._tail += run

    def add_marker(self, numbers: tuple[int, ...], shown_length: int) -> None:
        """Take a marker of which `shown_length` code points stay in the answer."""
        place = len(self._tail)
        if self._marks and self._marks[-1][0] == place:
            numbers = tuple(dict.fromkeys((*self._marks.pop()[1], *numbers)))
        self._marks.append((place, numbers))
        if shown_length:
            last_place, shown = self._anchors[-1]
            if last_place == place and len(self._anchors) > 1:
                self._anchors.pop()
            self._anchors.append((place, shown + place - last_place + shown_length))

    def end(self) -> Iterator[CitedSentence]:
        """Yield what is left: nothing more comes."""
        yield from self._completed(keep_last=False)

    def _completed(self, *, keep_last: bool) -> Iterator[CitedSentence]:
        spans = split_sentences(self._tail)
        count = len(spans) - keep_last
        if not spans and not keep_last:  # rules and fences of code, say
            self._marks.clear()
            self._forget(len(self._tail))
        if count <= 0:
            return
        for index, span in enumerate(spans[:count]):
            last = self._last_place(span, spans[index + 1] if index + 1 < len(spans) else None)
            numbers = [number for place, each in self._marks if place <= last for number in each]
            self._marks = [mark for mark in self._marks if mark[0] > last]
            yield CitedSentence(
                Span(self._shown(span.start), self._shown(span.end, is_end=True)),
                self._tail[span.start : span.end],
                tuple(dict.fromkeys(numbers)),
            )
        self._forget(spans[count - 1].end)

    def _last_place(self, sentence: Span, following: Span | None) -> int:
        """Return the last place whose markers go with a sentence: before the line of the next one, or it."""
        if following is None:
            return len(self._tail)
        line = self._tail.rfind("\n", sentence.end, following.start)
        return following.start if line < 0 else line

    def _shown(self, place: int, *, is_end: bool = False) -> int:
        """Return where a place of the tail is in the answer; an end is before what stands there."""
        anchor = self._anchors[0]
        for each in self._anchors[1:]:
            if each[0] < place or (each[0] == place and not is_end):
                anchor = each
        return anchor[1] + place - anchor[0]

    def _forget(self, end: int) -> None:
        start = self._shown(end, is_end=True)
        later = [(place - end, shown) for place, shown in self._anchors if place >= end and shown > start]
        self._anchors = [(0, start), *later]
        self._marks = [(place - end, numbers) for place, numbers in self._marks]
        self._tail = self._tail[end:]
