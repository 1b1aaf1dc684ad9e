"""How long a call may take, and who says so."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """When a call must have ended."""

    end: float
    """On the clock of `time.monotonic`."""
    is_callers: bool
    """Whether the caller chose it; else it is the server's."""

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the server's own limit, so many seconds from now."""
        return cls(time.monotonic() + seconds, is_callers=False)

    def left_s(self) -> float:
        """Return the seconds that are left; below 0 when it is over."""
        return self.end - time.monotonic()
