"""Idempotency: the answer that a mutating call was given, kept for its repetitions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """One answered call."""

    body_hash: str
    """Digest of the request without its request id."""
    response: bytes
    """The serialised response."""
    create_time: datetime
