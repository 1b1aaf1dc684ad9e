"""Filters a text that comes piece by piece, and tells where what is left of it stands.

What could still become part of something is held back: the word that is not complete, the words before it
that a filter has not decided on, and never more than twice the filters' reach. However the text is cut, the
result is that of the whole text at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rag_server.domain.document import Span
from rag_server.generation.filters.filter import Action, Filter, Found


@dataclass(frozen=True, slots=True)
class _Edit:
    """A place of the text that another text stands for."""

    start: int
    end: int
    shown_start: int
    shown_end: int


class FilteredText:
    """One text on its way through filters.

    `feed` it the pieces, then `end`; `release` gives what may be told of it. Positions without `shown` are
    those of the text as it came.
    """

    def __init__(self, filters: Sequence[Filter], *, may_refuse: bool = True) -> None:
        """`may_refuse`: whether filters that refuse do so; else they replace what they find."""
        self._filters = filters
        self._may_refuse = may_refuse
        self._reach = max((each.reach for each in filters), default=0) + 1
        self._held = ""
        self._before = ""
        """The character before it."""
        self._start = 0
        """Where `_held` begins."""
        self._shown = 0
        """Code points that have been told."""
        self._decided = 0
        """Up to where it is known what is found."""
        self._found: list[tuple[Filter, Found]] = []
        """What was found from `_start` on, up to `_decided`; positions in the whole text."""
        self._edits: list[_Edit] = []
        self.redactions: Counter[tuple[str, str]] = Counter()
        """How often each kind of each filter was replaced in what has been told."""
        self.refused_by = ""
        """The filter that ended the text; empty: none so far."""

    @property
    def decided(self) -> int:
        """Up to where the text may be released."""
        return self._decided

    def feed(self, text: str) -> None:
        """Take the next piece."""
        self._held += text
        self._decide(self._boundary())

    def end(self, text: str = "") -> None:
        """Take the last piece and decide on all: nothing more comes."""
        self._held += text
        self._decide(len(self._held))

    def release(self, upto: int) -> str:
        """Return what is told of the text from what was released up to `upto`, or a little further.

        At most `decided` is. What is found is released whole; where a filter refuses, the text ends.
        """
        end = min(upto, self._decided)
        pieces: list[str] = []
        while self._found and self._found[0][1].start < end and not self.refused_by:
            which, found = self._found.pop(0)
            pieces.append(self._taken(found.start))
            if which.action is Action.REFUSE and self._may_refuse:
                self.refused_by = which.name
                break
            self._taken(found.end, counts=False)
            shown_end = self._shown + len(found.placeholder)
            self._edits.append(_Edit(found.start, found.end, self._shown, shown_end))
            self._shown = shown_end
            self.redactions[which.name, found.kind] += 1
            pieces.append(found.placeholder)
        if not self.refused_by and end > self._start:
            pieces.append(self._taken(end))
        return "".join(pieces)

    def is_released(self, position: int) -> bool:
        """Whether the text up to `position` has been told, or what stands for it."""
        return self._start >= position

    def shown_span(self, span: Span) -> Span:
        """Return where a released span is in what has been told."""
        start = self._shown_position(span.start, is_end=False)
        return Span(start, max(start, self._shown_position(span.end, is_end=True)))

    def _taken(self, end: int, *, counts: bool = True) -> str:
        """Take what is held up to `end` out of it."""
        count = end - self._start
        text, self._held = self._held[:count], self._held[count:]
        self._before = text[-1:] or self._before
        self._start = end
        if counts:
            self._shown += len(text)
        return text

    def _boundary(self) -> int:
        """Return how much of what is held can be decided on."""
        last = len(self._held)
        # A word without an end is not looked at anew with each of its signs.
        farthest = last - self._reach if last > 2 * self._reach else 0
        while last > farthest and not self._held[last - 1].isspace():
            last -= 1
        complete = self._held[:last]
        undecided = min((each.undecided(complete) for each in self._filters), default=len(self._held))
        return max(undecided, farthest)

    def _decide(self, boundary: int) -> None:
        if self._start + boundary <= self._decided:
            return
        window = self._before + self._held
        offset = self._start - len(self._before)
        found = [
            (each, Found(place.start + offset, place.end + offset, place.kind))
            for each in self._filters
            for place in each.find(window, offset)
        ]
        limit = self._start + boundary
        kept = _apart([each for each in found if each[1].end > self._start], self._start)
        self._found = [each for each in kept if each[1].start < limit]
        self._decided = max([limit, *(each.end for _, each in self._found)])

    def _shown_position(self, position: int, *, is_end: bool) -> int:
        shift = 0
        for edit in self._edits:
            if position <= edit.start:
                break
            if position < edit.end:
                return edit.shown_end if is_end else edit.shown_start
            shift = edit.shown_end - edit.end
        return position + shift


def _apart(found: list[tuple[Filter, Found]], start: int) -> list[tuple[Filter, Found]]:
    """Return what was found without overlaps, from left to right; what refuses goes first.

    Of two that overlap nothing stays: one takes in the other.
    """
    found.sort(key=lambda each: (each[1].start, each[0].action is not Action.REFUSE, -each[1].end))
    kept: list[tuple[Filter, Found]] = []
    for which, each in found:
        if not kept or each.start >= kept[-1][1].end:
            kept.append((which, Found(max(start, each.start), each.end, each.kind)))
        elif which.action is Action.REFUSE:
            last_which, last = kept[-1]
            if last_which.action is Action.REDACT:
                kept[-1] = (which, Found(last.start, max(last.end, each.end), each.kind))
        elif each.end > kept[-1][1].end:
            last_which, last = kept[-1]
            kept[-1] = (last_which, Found(last.start, each.end, last.kind))
    return kept
