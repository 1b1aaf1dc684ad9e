"""The composition root's part for generation: providers, models, prompts and citations, wired together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry

from rag_server.app_engines import Figures, show_engines, start_engine
from rag_server.app_filters import create_screen
from rag_server.app_retrieval import RetrievalParts
from rag_server.backends.extractive.generator import ExtractiveGenerator
from rag_server.backends.memory_answer_store import MemoryAnswerStore
from rag_server.backends.onnx.entailment import OnnxEntailment
from rag_server.backends.openai.generator import ModelOptions, OpenAiGenerator
from rag_server.backends.openai.provider import Provider, ProviderOptions
from rag_server.backends.openai.token_counts import EstimatedTokens, TokenizerFile
from rag_server.backends.protocols import ChunkStore, Generator, Price
from rag_server.backends.sentence_cache import SentenceCache
from rag_server.backends.spaced_check import SpacedCheck
from rag_server.config import Settings
from rag_server.config.answering import ModelSettings, ProviderSettings
from rag_server.config.engine import VllmProviderSettings
from rag_server.domain.engine import EngineFigures
from rag_server.domain.generation import Sampling
from rag_server.generation.admission import Gate
from rag_server.generation.asking import Asking, Asks
from rag_server.generation.attribution import Attributor
from rag_server.generation.cached_asking import CachedAsking
from rag_server.generation.check import GroundingCheck
from rag_server.generation.cite import Citer
from rag_server.generation.compose import Composer
from rag_server.generation.cost import CostLimit
from rag_server.generation.expand.expanding import Expanding
from rag_server.generation.filters.counts import FilterCounts
from rag_server.generation.filters.screen import Screen
from rag_server.generation.ground import Grounder
from rag_server.generation.grounding.judge import Judge
from rag_server.generation.models import Models, ServedModel
from rag_server.generation.pipeline import Answering
from rag_server.generation.prompt import PromptTemplates
from rag_server.generation.structured import StructuredWriter
from rag_server.generation.task_prompt import TaskTemplates
from rag_server.generation.tasks import Tasks
from rag_server.services.resumable_answers import ResumableAnswers, ResumptionLimits
from rag_server.text.analyzer import Analyzer

CHECK_INTERVAL_S: Final = 60.0
"""Between two looks at a provider, which may count them against a limit."""


@dataclass(frozen=True, slots=True)
class GenerationParts:
    """What answers questions."""

    answering: Answering
    models: Models
    tasks: Tasks
    grounding: GroundingCheck
    checks: Mapping[str, Callable[[], Awaitable[None]]]
    """Health of the providers and engines, by name; no service needs one."""
    engines: Figures
    """How the models fare that run in this process's care."""
    screen: Screen


async def open_generation(
    settings: Settings,
    retrieval: RetrievalParts,
    chunks: ChunkStore,
    registry: CollectorRegistry,
    stack: AsyncExitStack,
) -> GenerationParts:
    """Wire generation over open parts.

    Raises `FailedPrecondition` (`TOKENIZER_UNUSABLE`, `BLOCKLIST_UNUSABLE`, those of `start_engine`). No
    provider is asked: one that is down is no reason not to start. Engines are started.
    """
    own = settings.models
    providers = {
        name: _provider(name, each)
        for name, each in own.providers.items()
        if isinstance(each, ProviderSettings)
    }
    for provider in providers.values():
        stack.push_async_callback(provider.close)
    sentences = SentenceCache(retrieval.embedder, max_bytes=settings.generation.sentence_cache_bytes)
    quoting = ExtractiveGenerator(
        sentences, Analyzer.for_language, max_sentences=settings.generation.max_quotes
    )
    # It needs no turns: the embedder, which is what it waits for, has a queue.
    served = [_served(quoting, settings.server.max_concurrent_calls, 0)]
    checks: dict[str, Callable[[], Awaitable[None]]] = {}
    engines: dict[str, Callable[[], EngineFigures]] = {}
    for name, model in own.models.items():
        provider_settings = own.providers[model.provider]
        if isinstance(provider_settings, VllmProviderSettings):
            engine = await start_engine(name, model, provider_settings, _price(model), stack)
            served.append(_served(engine, model.permits, model.queue))
            checks[f"model:{name}"] = engine.check  # at hand: it costs nothing
            engines[name] = partial(getattr, engine, "figures")
            continue
        generator = await asyncio.to_thread(_generator, name, model, providers[model.provider])
        served.append(_served(generator, model.permits, model.queue))
    show_engines(engines, registry)
    models = Models(served, own.aliases, own.fallbacks)
    templates, attributor = PromptTemplates(), Attributor(sentences)
    composer = Composer(templates, max_cost=own.max_cost)
    asking = _cached(
        settings, Asking(composer, Citer(attributor), StructuredWriter(templates, attributor)), registry
    )
    tasks = Tasks(models, TaskTemplates(), CostLimit(own.max_cost), timeout_s=own.task_timeout_s)
    judge = Judge(sentences, entailment=await _open_entailment(settings, stack))
    check = GroundingCheck(judge, retrieval.retrieval, retrieval.directory, retrieval.directory, chunks)
    # A provider is asked through any of its models: what it is asked for is the list of them all.
    by_provider = {each.generator.model.provider: each.generator for each in served[1:]}
    checks |= {
        f"provider:{name}": SpacedCheck(each.check, CHECK_INTERVAL_S)
        for name, each in by_provider.items()
        if name in providers
    }
    screen = create_screen(settings.filters, FilterCounts(registry))
    answering = Answering(
        retrieval.retrieval, models, composer, asking, Expanding(tasks), Grounder(judge), screen
    )
    return GenerationParts(answering, models, tasks, check, checks, engines, screen)


async def _open_entailment(settings: Settings, stack: AsyncExitStack) -> OnnxEntailment | None:
    name = settings.generation.entailment_model
    if not name:
        return None
    entailment = await OnnxEntailment.create(
        name, cache_dir=settings.embedding.cache_dir, threads=settings.embedding.threads or None
    )
    stack.push_async_callback(entailment.close)
    return entailment


def _cached(settings: Settings, asking: Asking, registry: CollectorRegistry) -> Asks:
    """Return what asks, with the answers that were given before, if any are to be kept."""
    own = settings.answers
    if not own.cache_bytes:
        return asking
    greedy = [name for name, model in settings.models.models.items() if model.temperature == 0]
    store = MemoryAnswerStore(own.cache_bytes, own.cache_ttl_s)
    return CachedAsking(asking, store, greedy_models=greedy, registry=registry)


def create_resumable_answers(settings: Settings, registry: CollectorRegistry) -> ResumableAnswers:
    """Return what keeps answers for callers whose connection breaks; `registry` counts them."""
    limits = ResumptionLimits(
        settings.answers.max_resumable,
        settings.answers.resume_buffer_bytes,
        settings.server.default_stream_deadline_s,
    )
    return ResumableAnswers(limits, registry)


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
