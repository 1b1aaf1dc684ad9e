"""The HTTP endpoint of metrics."""

from __future__ import annotations

from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry, start_http_server

from rag_server.config import MetricsSettings
from rag_server.errors import FailedPrecondition


def serve_metrics(settings: MetricsSettings, registry: CollectorRegistry, stack: AsyncExitStack) -> None:
    """Serve `/metrics` until `stack` is closed, if a port is set.

    Raises `FailedPrecondition` (`ADDRESS_UNUSABLE`).
    """
    if not settings.port:
        return
    try:
        server, _ = start_http_server(settings.port, settings.host, registry)
    except OSError as error:
        raise FailedPrecondition(
            "ADDRESS_UNUSABLE",
            f"cannot serve metrics on {settings.host}:{settings.port}: RAG_METRICS__PORT chooses another",
        ) from error
    stack.callback(server.shutdown)
