"""The composition root's part for engines: models that vLLM runs in the server's care, and their metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rag_server.backends.protocols import Price
from rag_server.backends.vllm.environment import load_vllm
from rag_server.backends.vllm.options import EngineOptions
from rag_server.backends.vllm.supervisor import RestartLimits, Supervisor
from rag_server.config.answering import ModelSettings
from rag_server.config.engine import VllmProviderSettings
from rag_server.domain.engine import EngineFigures
from rag_server.domain.generation import Sampling

if TYPE_CHECKING:
    from rag_server.backends.vllm.generator import VllmGenerator

Figures = Mapping[str, Callable[[], EngineFigures]]
"""How the engines fare, by model."""


async def start_engine(
    name: str,
    model: ModelSettings,
    provider: VllmProviderSettings,
    price: Price | None,
    turn: asyncio.Lock,
    stack: AsyncExitStack,
) -> tuple[VllmGenerator, Supervisor]:
    """Start vLLM for one model; it ends with `stack`. Return it with what watches it, once that is run.

    `turn` is held by whichever engine is being started again.

    Raises `FailedPrecondition` (`VLLM_NOT_INSTALLED`, `VLLM_NOT_STARTED`).
    """
    load_vllm()
    from rag_server.backends.vllm.engine import Engine
    from rag_server.backends.vllm.generator import VllmGenerator, VllmModelOptions

    engine_options = EngineOptions(
        model.id,
        model.window_tokens,
        dtype=provider.dtype,
        quantization=provider.quantization,
        tensor_parallel_size=provider.tensor_parallel_size,
        memory_share=provider.memory_share,
        kv_cache_bytes=provider.kv_cache_bytes,
        max_sequences=provider.max_sequences,
        prefix_caching=provider.prefix_caching,
        enforce_eager=provider.enforce_eager,
        seed=provider.seed,
        cpu_threads=provider.cpu_threads,
        trust_remote_code=provider.trust_remote_code,
        start_timeout_s=provider.start_timeout_s,
        further=provider.engine,
    )
    defaults = Sampling(model.temperature, model.top_p)
    options = VllmModelOptions(name, model.provider, price, defaults, model.extra)
    engine = await Engine.start(name, engine_options)
    stack.push_async_callback(engine.close)
    generator = await VllmGenerator.create(options, engine, model.window_tokens)
    return generator, Supervisor(engine, RestartLimits(provider.restarts), turn)


class _Engines(Collector):
    """Reads the figures when they are asked for."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of all engines, by model."""
        running = GaugeMetricFamily("rag_engine_running", "Answers being written.", labels=["model"])
        waiting = GaugeMetricFamily("rag_engine_waiting", "Requests that wait.", labels=["model"])
        usage = GaugeMetricFamily(
            "rag_engine_cache_usage_ratio",
            "Share of the memory for keys and values in use.",
            labels=["model"],
        )
        prompts = CounterMetricFamily(
            "rag_engine_prompt_tokens", "Prompt tokens looked up in the prefix cache.", labels=["model"]
        )
        cached = CounterMetricFamily(
            "rag_engine_cached_tokens", "Those of them that were found there.", labels=["model"]
        )
        for model, read in self._figures.items():
            figures = read()
            running.add_metric([model], figures.running_count)
            waiting.add_metric([model], figures.waiting_count)
            usage.add_metric([model], figures.cache_usage)
            prompts.add_metric([model], figures.prompt_token_count)
            cached.add_metric([model], figures.cached_token_count)
        return [running, waiting, usage, prompts, cached]


def show_engines(figures: Figures, registry: CollectorRegistry) -> None:
    """Add the engines to the metrics of the process, if there are any."""
    if figures:
        registry.register(_Engines(figures))
