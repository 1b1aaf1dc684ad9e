"""Identifiers the server makes: time-ordered UUIDs (RFC 9562, version 7) as 32 hex digits."""

from __future__ import annotations

import secrets
import time

_VERSION = 0x7
_VARIANT = 0b10
_NANOSECONDS_PER_MS = 1_000_000


def new_id() -> str:
    """Return a fresh id; ids made later sort after it, to the precision of the clock.

    The 12 bits after the milliseconds hold the fraction of the millisecond (RFC 9562, section 6.2,
    method 3), the last 62 bits are random. Uniqueness rests on the random bits alone.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), _NANOSECONDS_PER_MS)
    fraction = (nanoseconds << 12) // _NANOSECONDS_PER_MS
    value = (milliseconds << 80) | (_VERSION << 76) | (fraction << 64)
    value |= (_VARIANT << 62) | secrets.randbits(62)
    return f"{value:032x}"
