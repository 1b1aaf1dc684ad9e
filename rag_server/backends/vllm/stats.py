"""Takes what vLLM tells of itself after each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from vllm.v1.metrics.loggers import PrometheusStatLogger, StatLoggerBase
from vllm.v1.metrics.prometheus import unregister_vllm_metrics

from rag_server.domain.engine import EngineFigures

_STEPS: Final = 16
"""Over about as many the time of a step is averaged."""


def keep_own_loggers(manager: Any) -> None:
    """Take back what vLLM adds even where its loggers are switched off: metrics in the global registry."""
    manager.stat_loggers = [
        each for each in manager.stat_loggers if not isinstance(each, PrometheusStatLogger)
    ]
    unregister_vllm_metrics()


class EngineStats(StatLoggerBase):  # type: ignore[misc]  # vLLM is not type-checked
    """The latest figures of one engine, from its scheduler."""

    def __init__(self, ended: Callable[[str], object], before: EngineFigures | None = None) -> None:
        """Know nothing yet.

        Args:
            ended: Called with the id of each request of which the last token has come.
            before: The counts of an engine that has ended: its place is taken, and counters go on.
        """
        self._ended = ended
        counts = before or EngineFigures()
        self.figures = replace(counts, running_count=0, waiting_count=0, cache_usage=0.0)
        self.step_s: float | None = None
        """How long the engine takes for one token of each stream, by its own clock; None: it is not known."""

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """Add one step; a step after which nothing runs is told as well."""
        if iteration_stats is not None:
            for request in iteration_stats.finished_requests:
                self._ended(request.request_id)
            for latency in iteration_stats.inter_token_latencies_iter[:1]:  # alike for all
                before = latency if self.step_s is None else self.step_s
                self.step_s = before + (latency - before) / _STEPS
        if scheduler_stats is None:
            return
        cache, figures = scheduler_stats.prefix_cache_stats, self.figures
        self.figures = replace(
            figures,
            running_count=scheduler_stats.num_running_reqs,
            waiting_count=scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs,
            cache_usage=scheduler_stats.kv_cache_usage,
            prompt_token_count=figures.prompt_token_count + cache.queries,
            cached_token_count=figures.cached_token_count + cache.hits,
        )

    def log_engine_initialized(self) -> None:
        """Say nothing."""
