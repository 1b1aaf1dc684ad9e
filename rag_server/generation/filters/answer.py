"""One answer on its way through filters: its text, and the citations that point into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from rag_server.domain.generation import Cited, Delta, Words
from rag_server.generation.filters.filter import Filter
from rag_server.generation.filters.stream import FilteredText


class FilteredAnswer:
    """`take` the events in order; what it returns may be told."""

    def __init__(self, filters: Sequence[Filter], *, is_whole: bool) -> None:
        """`is_whole`: hold everything back until the text has ended."""
        self._text = FilteredText(filters)
        self._is_whole = is_whole
        self._raw: list[str] = []
        self._waiting: list[Cited] = []
        """Citations of text that has not been told."""
        self._rejected_by = ""
        self.has_shown = False

    @property
    def text(self) -> str:
        """What came."""
        return "".join(self._raw)

    @property
    def refused_by(self) -> str:
        """The filter that ended it; empty: none."""
        return self._rejected_by or self._text.refused_by

    @property
    def redactions(self) -> Counter[tuple[str, str]]:
        return Counter() if self._rejected_by else self._text.redactions

    def take(self, event: Words) -> list[Delta | Cited]:
        """Take the next event; return what may be told now."""
        if isinstance(event, Delta):
            self._raw.append(event.text)
            self._text.feed(event.text)
        elif isinstance(event, Cited):
            self._waiting.append(event)
        else:
            self._text.end()
        if self._is_whole and isinstance(event, Delta | Cited):
            return []
        return self._released()

    def checked(self, outs: Sequence[Delta | Cited], accepts: Callable[[str], bool]) -> list[Delta | Cited]:
        """Return a whole answer, nothing of one that is refused.

        One that has lost its form is refused by the filter that changed it.
        """
        if self._text.refused_by:
            self.has_shown = False
            return []
        told = "".join(out.text for out in outs if isinstance(out, Delta))
        if not self._text.redactions or accepts(told):
            return list(outs)
        self._rejected_by = next(iter(self._text.redactions))[0]
        self.has_shown = False
        return []

    def _released(self) -> list[Delta | Cited]:
        outs: list[Delta | Cited] = []
        while self._waiting and self._waiting[0].citation.answer_span.end <= self._text.decided:
            cited = self._waiting[0]
            outs += self._shown(cited.citation.answer_span.end)
            if not self._text.is_released(cited.citation.answer_span.end):  # refused before its end
                return outs
            self._waiting.pop(0)
            span = self._text.shown_span(cited.citation.answer_span)
            outs.append(Cited(replace(cited.citation, answer_span=span)))
        return outs + self._shown(self._text.decided)

    def _shown(self, upto: int) -> list[Delta | Cited]:
        text = self._text.release(upto)
        self.has_shown = self.has_shown or bool(text)
        return [Delta(text)] if text else []
