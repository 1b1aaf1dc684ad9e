"""What a validation has found so far."""

from __future__ import annotations

from typing import Final

from rag_server.errors import FieldViolation

INVALID_REQUEST: Final = "INVALID_REQUEST"
"""The reason of a violation that has none of its own."""

MAX_VIOLATIONS: Final = 32
"""Further violations are not looked for: the answer to a hostile request stays small."""


class ReportFullError(Exception):
    """The report holds `MAX_VIOLATIONS`; the walk ends."""


class Report:
    """Collects the violations of one request, in the order of the walk."""

    __slots__ = ("reasons", "violations")

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []
        self.reasons: set[str] = set()

    def add(self, path: str, description: str, reason: str = INVALID_REQUEST) -> None:
        """Record a violation.

        Raises:
            ReportFullError: It was the last one that fits.
        """
        self.violations.append(FieldViolation(path, description))
        self.reasons.add(reason)
        if len(self.violations) >= MAX_VIOLATIONS:
            raise ReportFullError

    @property
    def reason(self) -> str:
        """The reason that all violations share, else `INVALID_REQUEST`."""
        return next(iter(self.reasons)) if len(self.reasons) == 1 else INVALID_REQUEST
