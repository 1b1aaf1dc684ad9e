"""How work on a job ends that somebody has cancelled."""

from __future__ import annotations


class JobCancelled(Exception):
    """Somebody asked for the job to stop."""
