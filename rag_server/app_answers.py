"""The composition root's part for answers that are kept: where, and by what settings."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from rag_server.backends.memory_answer_store import MemoryAnswerStore
from rag_server.backends.protocols import AnswerStore
from rag_server.config import Settings
from rag_server.domain.cache import CacheFigures
from rag_server.errors import FailedPrecondition
from rag_server.generation.asking import Asking, Asks
from rag_server.generation.cached_asking import CachedAsking

if TYPE_CHECKING:
    from rag_server.backends.redis_answer_store import RedisAnswerStore


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """What gets answers, kept or new."""

    asking: Asks
    checks: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """Health of the store, by name; no service needs it."""
    caches: Mapping[str, Callable[[], CacheFigures]] = field(default_factory=dict)
    """By name, what takes memory of this process."""


def keep_answers(
    settings: Settings, asking: Asking, registry: CollectorRegistry, stack: AsyncExitStack
) -> AnswerParts:
    """Return `asking`, with its answers kept where the settings say so.

    Redis is not asked yet: without it models answer. Raises `FailedPrecondition` (`EXTRA_NOT_INSTALLED`).
    """
    own = settings.answers
    greedy = [name for name, model in settings.models.models.items() if model.temperature == 0]

    def kept_in(store: AnswerStore) -> Asks:
        return CachedAsking(
            asking, store, greedy_models=greedy, settings=answer_settings(settings), registry=registry
        )

    if own.cache_url.get_secret_value():
        shared = _open_redis(settings, stack)
        return AnswerParts(kept_in(shared), checks={"answers": shared.check})
    if own.cache_bytes:
        store = MemoryAnswerStore(own.cache_bytes, own.cache_ttl_s)
        return AnswerParts(kept_in(store), caches={"answers": store.figures})
    return AnswerParts(asking)


def answer_settings(settings: Settings) -> str:
    """Return a digest of what answers depend on besides their prompt; keys and passwords are not in it.

    Too much rather than too little: whose settings differ in vain asks a model once more.
    """
    dumped = settings.model_dump(mode="json", include={"models", "generation", "filters"})
    facts = [version("rag-server"), settings.embedding.model, dumped]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _open_redis(settings: Settings, stack: AsyncExitStack) -> RedisAnswerStore:
    if importlib.util.find_spec("redis") is None:
        raise FailedPrecondition(
            "EXTRA_NOT_INSTALLED",
            "RAG_ANSWERS__CACHE_URL asks for Redis: install rag-server with the extra `redis`, or empty the "
            "setting",
            metadata={"settings": "RAG_ANSWERS__CACHE_URL", "extra": "redis"},
        )
    from rag_server.backends.redis_answer_store import RedisAnswerStore, RedisOptions

    own = settings.answers
    options = RedisOptions(own.cache_url.get_secret_value(), own.cache_prefix, own.cache_timeout_s)
    store = RedisAnswerStore(options, own.cache_ttl_s)
    stack.push_async_callback(store.close)
    return store
