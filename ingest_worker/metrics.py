"""What a worker counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rag_server.domain.job import Job

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class WorkerMetrics:
    """Counts of jobs by how they ended, and how long that took."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._working = Gauge("rag_jobs_working", "Jobs worked on now", registry=registry)
        self._ended = Counter("rag_jobs_ended", "Jobs that have ended", ["state"], registry=registry)
        self._retried = Counter(
            "rag_jobs_retried",
            "Attempts that are made again",
            ["reason"],
            registry=registry,
        )
        self._lost = Counter("rag_leases_lost", "Jobs that another has taken over", registry=registry)
        self._seconds = Histogram(
            "rag_job_seconds", "Time from acceptance to end", buckets=_SECONDS, registry=registry
        )

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a job as worked on for the length of the block."""
        self._working.inc()
        try:
            yield
        finally:
            self._working.dec()

    def ended(self, job: Job) -> None:
        """Count a job that has ended."""
        self._ended.labels(job.state.value).inc()
        if job.end_time is not None:
            self._seconds.observe((job.end_time - job.create_time).total_seconds())

    def retried(self, reason: str) -> None:
        """Count an attempt that failed and is made again."""
        self._retried.labels(reason).inc()

    def lost(self) -> None:
        """Count a lease that was lost."""
        self._lost.inc()
