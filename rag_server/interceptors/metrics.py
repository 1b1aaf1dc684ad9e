"""Counts and times calls for Prometheus. Labels are methods and codes, never tenants or content."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rag_server.interceptors.call import Call

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts calls by method and status, and observes their duration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter("rag_calls", "Calls that ended.", ["method", "status"], registry=registry)
        self._seconds = Histogram(
            "rag_call_seconds", "Duration of calls.", ["method"], buckets=_BUCKETS_S, registry=registry
        )
        self._active = Gauge("rag_calls_active", "Calls in progress.", ["method"], registry=registry)
        self._by_method: dict[str, tuple[Gauge, Histogram]] = {}

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        """Count the call however it ends."""
        active, seconds = self._children(call.method)
        active.inc()
        try:
            yield
        except asyncio.CancelledError:
            call.status = "CANCELLED"
            raise
        finally:
            active.dec()
            self._calls.labels(call.method, call.status).inc()
            seconds.observe(call.elapsed_s)

    def _children(self, method: str) -> tuple[Gauge, Histogram]:
        """Return a method's own gauge and histogram: looking them up by label takes longer."""
        known = self._by_method.get(method)
        if known is None:
            known = self._by_method[method] = self._active.labels(method), self._seconds.labels(method)
        return known
