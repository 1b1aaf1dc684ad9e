"""Leases: who works on a job, and until when.

A lease is a promise with an end: whoever holds it may write, until it ends or another has taken it. Its token
fences the writes of a holder that was paused and does not know yet that it has lost it (Kleppmann, "How to do
distributed locking", 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one job."""

    tenant_id: str
    job_id: str
    token: str
    """New with each lease, never given out twice."""
    owner: str
    """The process that holds it, for people."""
    expire_time: datetime
    """From when on another may take it."""


class LeaseLost(Exception):
    """The job is another's by now: nothing that was done since may be written."""
