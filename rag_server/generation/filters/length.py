"""The longest question, and the longest answer."""

from __future__ import annotations

from collections.abc import Sequence

from rag_server.generation.filters.filter import Action, Found


class LengthFilter:
    """A `Filter` that finds what is over a number of code points."""

    name = "length"
    action = Action.REFUSE
    reach = 1

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def find(self, text: str, offset: int = 0) -> Sequence[Found]:
        """Return what is beyond the limit."""
        start = max(0, self._limit - offset)
        return [Found(start, len(text), "too_long")] if start < len(text) else []

    def undecided(self, text: str) -> int:
        """Return the end: a place is over the limit or not."""
        return len(text)
