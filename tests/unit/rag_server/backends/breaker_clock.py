"""The clock that breakers look at, which tests move."""

from __future__ import annotations


class BreakerClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        """In seconds."""

    def time(self) -> float:
        return self.now
