"""Asks a model unless it has answered the same before, or is answering it now."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter

from rag_server.backends.protocols import AnswerStore
from rag_server.domain.generation import FinishReason, Usage, Words
from rag_server.errors import RagError
from rag_server.generation.answer_key import answer_key, may_be_shared
from rag_server.generation.asking import Asked, Asking
from rag_server.generation.compose import Composed
from rag_server.generation.kept_words import decode, encode
from rag_server.generation.models import ServedModel
from rag_server.generation.single_flight import SingleFlight

_KEPT: Final = frozenset({FinishReason.COMPLETE, FinishReason.MAX_TOKENS, FinishReason.NO_RELEVANT_CONTENT})
"""Reasons of answers that are kept: what a provider withholds it may give the next time."""

_NOTHING: Final = Usage(0, 0)
"""What an answer costs for which no model was asked."""

log = structlog.get_logger()

Events = AsyncGenerator[Asked | Words, None]


class CachedAsking:
    """Gives an answer that was kept, or joins one under way, where `may_be_shared` allows it; else it asks.

    Answers of another model than the one that was asked, and those that broke, are not kept. The tenant is
    that of the passages; without any passage no model is asked, and nothing is kept.
    """

    def __init__(
        self,
        asking: Asking,
        store: AnswerStore,
        *,
        greedy_models: Collection[str] = (),
        registry: CollectorRegistry | None = None,
    ) -> None:
        """`greedy_models`: those whose own temperature is 0; `registry`: where requests are counted."""
        self._asking = asking
        self._store = store
        self._greedy_models = frozenset(greedy_models)
        self._flights: SingleFlight[Asked | Words] = SingleFlight()
        self._requests = Counter(
            "rag_answer_cache_requests",
            "Answers that may be shared, by where they come from: kept, joined, asked.",
            ["outcome"],
            registry=registry or CollectorRegistry(),
        )

    async def ask(self, route: Sequence[ServedModel], first: Composed) -> Events:
        """Yield who answers, then the answer, as `Asking.ask` does; one that was shared costs nothing."""
        model, request, sources = route[0].generator.model, first.prompt.request, first.prompt.sources
        is_greedy = model.name in self._greedy_models
        if not sources or not may_be_shared(request, model, is_greedy=is_greedy):
            async with aclosing(self._asking.ask(route, first)) as events:
                async for event in events:
                    yield event
            return

        tenant_id = sources[0].chunk.tenant_id
        key = answer_key(tenant_id, model, first)
        kept = await self._kept(tenant_id, key)
        if kept is not None:
            self._requests.labels("kept").inc()
            yield Asked(model.name, first, is_fallback=False, is_shared=True)
            for word in kept:
                yield _shared(word)
            return

        # Those who are waited for do not join one that is not.
        flight_key = f"{request.priority}:{key}"
        async with self._flights.joined(
            flight_key, lambda: self._asked(route, first, tenant_id, key)
        ) as joined:
            flight, is_shared = joined
            self._requests.labels("joined" if is_shared else "asked").inc()
            async with aclosing(flight.read()) as events:
                async for event in events:
                    yield _shared(event) if is_shared else event

    async def _asked(self, route: Sequence[ServedModel], first: Composed, tenant_id: str, key: str) -> Events:
        """Yield an answer that is asked for, and keep it."""
        words: list[Words] = []
        is_kept = False
        async with aclosing(self._asking.ask(route, first)) as events:
            async for event in events:
                if isinstance(event, Asked):
                    is_kept = not event.is_fallback
                else:
                    words.append(event)
                yield event
        if is_kept and any(event in _KEPT for event in words if isinstance(event, FinishReason)):
            try:
                await self._store.put(tenant_id, key, encode(words))
            except RagError as error:  # the answer is given: it will be written again
                log.warning("answer is not kept", reason=error.reason)

    async def _kept(self, tenant_id: str, key: str) -> list[Words] | None:
        try:
            value = await self._store.get(tenant_id, key)
            return None if value is None else list(decode(value))
        except RagError as error:
            log.warning("kept answers cannot be read", reason=error.reason)
        except (ValueError, TypeError):
            log.warning("kept answer is of another form")
        return None


def _shared(event: Asked | Words) -> Asked | Words:
    """Return an event as those get it for whom no model was asked."""
    if isinstance(event, Asked):
        return replace(event, is_shared=True)
    return _NOTHING if isinstance(event, Usage) else event
