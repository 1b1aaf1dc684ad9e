"""How many cores this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the cores that this process is given; where the system does not say (macOS), all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
