"""Measures the stages of one request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rag_server.domain.retrieval import Timings

TOTAL = "total"
"""The key under which `Stopwatch.timings` puts the time since the start."""


class Stopwatch:
    """Adds up microseconds per stage, from its construction on. One per request; not thread-safe."""

    def __init__(self) -> None:
        self._start = time.perf_counter_ns()
        self._stages: Timings = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside the block towards `name`; a stage that is run twice adds up."""
        self._stages.setdefault(name, 0)
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            self._stages[name] += (time.perf_counter_ns() - start) // 1000

    def add(self, other: Stopwatch) -> None:
        """Count the stages of `other`, work that was shared with other requests, as this one's too."""
        for name, duration_us in other._stages.items():
            self._stages[name] = self._stages.get(name, 0) + duration_us

    def timings(self) -> Timings:
        """Return the stages in the order in which they began, then `total`."""
        return {**self._stages, TOTAL: (time.perf_counter_ns() - self._start) // 1000}
