"""The composition root's part for generation: prompts, answers, citations and grounding, wired together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from rag_server.app_filters import create_screen
from rag_server.app_models import ModelParts, open_models
from rag_server.app_retrieval import RetrievalParts
from rag_server.backends.extractive.generator import ExtractiveGenerator
from rag_server.backends.memory_answer_store import MemoryAnswerStore
from rag_server.backends.onnx.entailment import OnnxEntailment
from rag_server.backends.protocols import ChunkStore
from rag_server.backends.sentence_cache import SentenceCache
from rag_server.config import Settings
from rag_server.domain.cache import CacheFigures
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
from rag_server.generation.pipeline import Answering
from rag_server.generation.prompt import PromptTemplates
from rag_server.generation.structured import StructuredWriter
from rag_server.generation.task_prompt import TaskTemplates
from rag_server.generation.tasks import Tasks
from rag_server.services.resumable_answers import ResumableAnswers, ResumptionLimits
from rag_server.text.analyzer import Analyzer


@dataclass(frozen=True, slots=True)
class GenerationParts:
    """What answers questions."""

    answering: Answering
    served: ModelParts
    tasks: Tasks
    grounding: GroundingCheck
    screen: Screen
    caches: Mapping[str, Callable[[], CacheFigures]]
    """By name."""


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
    sentences = SentenceCache(retrieval.embedder, max_bytes=settings.generation.sentence_cache_bytes)
    quoting = ExtractiveGenerator(
        sentences, Analyzer.for_language, max_sentences=settings.generation.max_quotes
    )
    served = await open_models(settings, quoting, registry, stack)
    models, own = served.models, settings.models
    templates, attributor = PromptTemplates(), Attributor(sentences)
    composer = Composer(templates, max_cost=own.max_cost)
    caches = {"sentences": sentences.figures}
    models_in_turn = Asking(composer, Citer(attributor), StructuredWriter(templates, attributor))
    asking: Asks = models_in_turn
    if settings.answers.cache_bytes:
        store = MemoryAnswerStore(settings.answers.cache_bytes, settings.answers.cache_ttl_s)
        caches["answers"] = store.figures
        greedy = [name for name, model in own.models.items() if model.temperature == 0]
        asking = CachedAsking(models_in_turn, store, greedy_models=greedy, registry=registry)
    tasks = Tasks(models, TaskTemplates(), CostLimit(own.max_cost), timeout_s=own.task_timeout_s)
    judge = Judge(sentences, entailment=await _open_entailment(settings, stack))
    check = GroundingCheck(judge, retrieval.retrieval, retrieval.directory, retrieval.directory, chunks)
    screen = create_screen(settings.filters, FilterCounts(registry))
    answering = Answering(
        retrieval.retrieval, models, composer, asking, Expanding(tasks), Grounder(judge), screen
    )
    return GenerationParts(answering, served, tasks, check, screen, caches)


async def _open_entailment(settings: Settings, stack: AsyncExitStack) -> OnnxEntailment | None:
    name = settings.generation.entailment_model
    if not name:
        return None
    entailment = await OnnxEntailment.create(
        name, cache_dir=settings.embedding.cache_dir, threads=settings.embedding.threads or None
    )
    stack.push_async_callback(entailment.close)
    return entailment


def create_resumable_answers(settings: Settings, registry: CollectorRegistry) -> ResumableAnswers:
    """Return what keeps answers for callers whose connection breaks; `registry` counts them."""
    limits = ResumptionLimits(
        settings.answers.max_resumable,
        settings.answers.resume_buffer_bytes,
        settings.server.default_stream_deadline_s,
    )
    return ResumableAnswers(limits, registry, has_peers=settings.database.is_shared)
