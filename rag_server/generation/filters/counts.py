"""Counts what filters do, for Prometheus: by filter, kind and part, never by tenant or content."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from rag_server.domain.policy import PolicyReport


class FilterCounts:
    """Redactions and refusals since the start."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Count in `registry`; None: where nobody looks."""
        own = CollectorRegistry() if registry is None else registry
        self._redactions = Counter(
            "rag_filter_redactions", "Texts replaced.", ["filter", "kind", "part"], registry=own
        )
        self._refusals = Counter(
            "rag_filter_refusals", "Questions and answers refused.", ["filter", "part"], registry=own
        )

    def add(self, report: PolicyReport) -> None:
        """Count what filters did to one part."""
        for each in report.redactions:
            self._redactions.labels(each.filter, each.kind, each.part.value).inc(each.count)
        if report.refused_by and report.refused_part is not None:
            self._refusals.labels(report.refused_by, report.refused_part.value).inc()
