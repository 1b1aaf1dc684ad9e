"""The composition root's part for models: providers, engines of this process's own, and turns at each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry

from rag_server.app_engines import Figures, show_engines, start_engine
from rag_server.backends.openai.generator import ModelOptions, OpenAiGenerator
from rag_server.backends.openai.provider import Provider, ProviderOptions
from rag_server.backends.openai.token_counts import EstimatedTokens, TokenizerFile
from rag_server.backends.protocols import Generator, Price
from rag_server.backends.spaced_check import SpacedCheck
from rag_server.background import Work
from rag_server.config import Settings
from rag_server.config.answering import ModelSettings, ProviderSettings
from rag_server.config.engine import VllmProviderSettings
from rag_server.domain.engine import EngineFigures
from rag_server.domain.generation import Sampling
from rag_server.generation.admission import Gate
from rag_server.generation.models import Models, ServedModel

CHECK_INTERVAL_S: Final = 60.0
"""Between two looks at a provider, which may count them against a limit."""


@dataclass(frozen=True, slots=True)
class ModelParts:
    """The models, and how they fare."""

    models: Models
    checks: Mapping[str, Callable[[], Awaitable[None]]]
    """Health of the providers and engines, by name; no service needs one."""
    engines: Figures
    """How the models fare that run in this process's care."""
    supervisors: Mapping[str, Work]
    """What starts those again that have died, by name: to be run beside the calls."""


async def open_models(
    settings: Settings, quoting: Generator, registry: CollectorRegistry, stack: AsyncExitStack
) -> ModelParts:
    """Wire the models of the settings beside the one that quotes, which is the first.

    Raises `FailedPrecondition` (`TOKENIZER_UNUSABLE`, those of `start_engine`). No provider is asked: one
    that is down is no reason not to start. Engines are started.
    """
    own = settings.models
    # It needs no turns: the embedder, which is what it waits for, has a queue.
    served = [_served(quoting, settings.server.max_concurrent_calls, 0)]
    providers: dict[str, Provider] = {}
    for name, each in own.providers.items():
        if isinstance(each, ProviderSettings):
            providers[name] = _provider(name, each)
            stack.push_async_callback(providers[name].close)
    checks: dict[str, Callable[[], Awaitable[None]]] = {}
    engines: dict[str, Callable[[], EngineFigures]] = {}
    supervisors: dict[str, Work] = {}
    restarting = asyncio.Lock()
    for name, model in own.models.items():
        provider = own.providers[model.provider]
        generator: Generator
        if isinstance(provider, VllmProviderSettings):
            engine, supervisor = await start_engine(name, model, provider, _price(model), restarting, stack)
            generator = engine
            supervisors[f"engine of {name}"] = supervisor.run
            checks[f"model:{name}"] = engine.check  # at hand: it costs nothing
            engines[name] = partial(getattr, engine, "figures")
        else:
            generator = await asyncio.to_thread(_generator, name, model, providers[model.provider])
            # A provider is asked through any of its models: what it is asked for is the list of them all.
            checks[f"provider:{model.provider}"] = SpacedCheck(generator.check, CHECK_INTERVAL_S)
        served.append(_served(generator, model.permits, model.queue))
    show_engines(engines, registry)
    return ModelParts(Models(served, own.aliases, own.fallbacks), checks, engines, supervisors)


def _served(generator: Generator, permits: int, queue: int) -> ServedModel:
    return ServedModel(generator, Gate(generator.model.name, permits=permits, queue=queue))


def _provider(name: str, settings: ProviderSettings) -> Provider:
    return Provider(
        ProviderOptions(
            name,
            settings.base_url,
            settings.api_key.get_secret_value(),
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.read_timeout_s,
            max_connections=settings.max_connections,
            attempts=settings.attempts,
            retry_wait_s=settings.retry_wait_s,
            breaker_failures=settings.breaker_failures,
            breaker_open_s=settings.breaker_open_s,
        )
    )


def _price(settings: ModelSettings) -> Price | None:
    if settings.prompt_price is None or settings.answer_price is None:
        return None
    return Price(settings.prompt_price, settings.answer_price)


def _generator(name: str, settings: ModelSettings, provider: Provider) -> OpenAiGenerator:
    tokens = (
        TokenizerFile.load(settings.tokenizer_file, name) if settings.tokenizer_file else EstimatedTokens()
    )
    options = ModelOptions(
        name,
        settings.id,
        settings.window_tokens,
        _price(settings),
        Sampling(settings.temperature, settings.top_p),
        settings.max_tokens_field,
        settings.extra,
        settings.structured_output,
    )
    return OpenAiGenerator(provider, options, tokens)
