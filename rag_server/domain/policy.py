"""What the server's filters did to a question and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """Where a filter looked."""

    QUESTION = "question"
    HISTORY = "history"
    SOURCES = "sources"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Redaction:
    """How often one kind of text was replaced in one part."""

    part: Part
    filter: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What filters replaced, and which of them refused; never the text itself."""

    redactions: tuple[Redaction, ...] = ()
    refused_by: str = ""
    """Name of a filter; empty: none."""
    refused_part: Part | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.redactions or self.refused_by)

    def joined(self, other: PolicyReport | None) -> PolicyReport:
        """Return what both say; of two refusals, the first."""
        if other is None:
            return self
        return PolicyReport(
            (*self.redactions, *other.redactions),
            self.refused_by or other.refused_by,
            self.refused_part or other.refused_part,
        )
