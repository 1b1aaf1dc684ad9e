"""The role of a filter, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Action(StrEnum):
    """What becomes of a text in which a filter finds something."""

    REDACT = "redact"
    """A placeholder takes the place of what was found."""
    REFUSE = "refuse"
    """The question is not answered; an answer ends before what was found."""


@dataclass(frozen=True, slots=True)
class Found:
    """A place of a text that is not to be told."""

    start: int
    end: int
    """Exclusive, in code points."""
    kind: str
    """What was found, in a word: `email`. Shown to the caller and in metrics."""

    @property
    def placeholder(self) -> str:
        """What stands in its place."""
        return f"[{self.kind}]"


class Filter(Protocol):
    """Looks for what is not to be told. Pure CPU, thread-safe.

    A stream is looked at piece by piece: whether there is something at a place must depend on one character
    before it and `reach` after it alone, and something that `undecided` leaves behind must be whole.
    """

    @property
    def name(self) -> str:
        """The kind of filter, as callers and metrics know it."""
        ...

    @property
    def action(self) -> Action: ...

    @property
    def reach(self) -> int:
        """Code points after which nothing that began before can still become something else."""
        ...

    def find(self, text: str, offset: int = 0) -> Sequence[Found]:
        """Return what is in `text`, in order, nothing twice; it begins at `offset` of the whole."""
        ...

    def undecided(self, text: str) -> int:
        """Return from where on more text could make something of what is at the end; at most its length.

        `text` ends before a word that is not complete yet, which is undecided in any case.
        """
        ...
