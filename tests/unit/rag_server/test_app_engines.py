from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from rag_server.app_engines import show_engines
from rag_server.domain.engine import EngineFigures


def test_engines_are_shown_as_they_are_when_metrics_are_read() -> None:
    figures = [EngineFigures()]
    registry = CollectorRegistry()
    show_engines({"tiny": lambda: figures[0]}, registry)
    figures[0] = EngineFigures(2, 3, 0.25, 400, 300)
    shown = generate_latest(registry).decode()
    for line in (
        'rag_engine_running{model="tiny"} 2.0',
        'rag_engine_waiting{model="tiny"} 3.0',
        'rag_engine_cache_usage_ratio{model="tiny"} 0.25',
        'rag_engine_prompt_tokens_total{model="tiny"} 400.0',
        'rag_engine_cached_tokens_total{model="tiny"} 300.0',
    ):
        assert line in shown.splitlines()


def test_server_without_engines_has_no_metrics_of_them() -> None:
    registry = CollectorRegistry()
    show_engines({}, registry)
    assert generate_latest(registry) == b""
