"""What there is to say of a cache."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """How a cache fares."""

    entry_count: int
    size_bytes: int
    limit_bytes: int
    hit_count: int
    miss_count: int
