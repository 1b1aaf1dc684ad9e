"""What a check of `doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    """Name of the check, stable for scripts."""
    level: Level
    detail: str
    """What was found."""
    advice: str = ""
    """What to do; empty when there is nothing to do."""

    def as_dict(self) -> dict[str, str]:
        """Return the finding as JSON-ready data."""
        return {
            "check": self.check,
            "level": self.level.value,
            "detail": self.detail,
            "advice": self.advice,
        }
