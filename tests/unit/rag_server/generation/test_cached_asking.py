"""Answers that are kept and shared: who gets them, what they say, and what is never kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rag_server.backends.memory_answer_store import MemoryAnswerStore
from rag_server.backends.protocols import GeneratorModel
from rag_server.domain.generation import (
    AnswerCaching,
    Cited,
    Delta,
    FinishReason,
    GenerationRequest,
    Message,
    Prompt,
    PromptReport,
    Role,
    Sampling,
    Usage,
)
from rag_server.domain.retrieval import RetrievalRequest, ScoredChunk
from rag_server.errors import RagError, Unavailable
from rag_server.generation.admission import Gate
from rag_server.generation.asking import Asking
from rag_server.generation.attribution import Attributor
from rag_server.generation.cached_asking import CachedAsking
from rag_server.generation.cite import Citer
from rag_server.generation.compose import Composed, Composer
from rag_server.generation.models import ServedModel
from rag_server.generation.prompt import PromptTemplates
from rag_server.generation.structured import StructuredWriter
from rag_server.testing.fakes import HashEmbedder
from rag_server.testing.generator_suite import SOURCES
from tests.faults.polling import until

GREEDY = Sampling(temperature=0.0)
REPORT = PromptReport(9, True, 4096, (), 0, "answer/1/en", None)


class Model:
    """A model that writes the same words each time, past a gate, and counts how often it was asked."""

    def __init__(
        self,
        name: str = "small",
        *,
        reason: FinishReason = FinishReason.COMPLETE,
        error: RagError | None = None,
    ) -> None:
        self.model = GeneratorModel(name, "local", 4096)
        self.asked = 0
        self.running = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error = error
        self._reason = reason

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Any, None]:
        self.asked += 1
        self.running += 1
        try:
            if self.error is not None:
                raise self.error
            for token in ("It waits ", "at dawn [1]. ", "It eats fish [1]."):
                yield Delta(token)
                await self.gate.wait()
            yield Usage(9, 3)
            yield self._reason
        finally:
            self.running -= 1

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def served(model: Model) -> ServedModel:
    return ServedModel(model, Gate(model.model.name, permits=8, queue=0))


def composed(sources: Sequence[ScoredChunk] = SOURCES, **options: Any) -> Composed:
    request = GenerationRequest(RetrievalRequest(("books",), "why?"), **{"sampling": GREEDY, **options})
    return Composed(Prompt(request, tuple(sources), (Message(Role.USER, "why?"),)), REPORT)


def of_tenant(tenant_id: str) -> list[ScoredChunk]:
    return [replace(each, chunk=replace(each.chunk, tenant_id=tenant_id)) for each in SOURCES]


def caching(store: Any = None, registry: CollectorRegistry | None = None, **options: Any) -> CachedAsking:
    templates, attributor = PromptTemplates(), Attributor(HashEmbedder())
    asking = Asking(Composer(templates), Citer(attributor), StructuredWriter(templates, attributor))
    return CachedAsking(asking, store or MemoryAnswerStore(100_000, 60.0), registry=registry, **options)


async def read(asking: CachedAsking, *models: Model, first: Composed | None = None) -> list[Any]:
    return [event async for event in asking.ask([served(each) for each in models], first or composed())]


def text_of(events: Sequence[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def told(events: Sequence[Any]) -> list[Any]:
    """Return what is the same in an answer that was shared: citations, reason and their places."""
    text, found = "", []
    for event in events:
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Cited | FinishReason):
            found.append((len(text), event))
    return [text, *found]


async def test_second_answer_is_the_first_one_again_and_cost_nothing() -> None:
    asking, model = caching(), Model()
    first, second = await read(asking, model), await read(asking, model)
    assert model.asked == 1
    assert told(second) == told(first)
    assert [event.is_shared for event in (first[0], second[0])] == [False, True]
    assert [event for event in first if isinstance(event, Usage)] == [Usage(9, 3)]
    assert [event for event in second if isinstance(event, Usage)] == [Usage(0, 0)]


async def test_callers_at_the_same_time_share_one_answer() -> None:
    asking, model = caching(), Model()
    model.gate.clear()
    readers = [asyncio.create_task(read(asking, model)) for _ in range(5)]
    await until(lambda: model.running)
    model.gate.set()
    answers = await asyncio.gather(*readers)
    assert model.asked == 1
    assert all(told(each) == told(answers[0]) for each in answers)
    assert sum(each[0].is_shared for each in answers) == 4
    usages = [event for each in answers for event in each if isinstance(event, Usage)]
    assert sorted(each.answer_token_count for each in usages) == [0, 0, 0, 0, 3]


async def test_answer_goes_on_when_the_first_caller_leaves_and_stops_with_the_last() -> None:
    asking, model = caching(), Model()
    model.gate.clear()
    readers = [asyncio.create_task(read(asking, model)) for _ in range(2)]
    await until(lambda: model.running)
    readers[0].cancel()
    await asyncio.wait(readers[:1])
    assert model.running == 1
    readers[1].cancel()
    await asyncio.wait(readers[1:])
    assert model.running == 0
    model.gate.set()
    assert not (await read(asking, model))[0].is_shared, "an answer that was given up is not kept"


async def test_tenants_share_nothing() -> None:
    asking, model = caching(), Model()
    for tenant in ("acme", "other"):
        events = await read(asking, model, first=composed(of_tenant(tenant)))
        assert not events[0].is_shared
    model.gate.clear()
    readers = [
        asyncio.create_task(read(asking, model, first=composed(of_tenant(tenant), language="es")))
        for tenant in ("acme", "other")
    ]
    await until(lambda: model.running == 2)
    model.gate.set()
    assert not any(events[0].is_shared for events in await asyncio.gather(*readers))


@pytest.mark.parametrize(
    "options",
    [{"sampling": Sampling()}, {"sampling": Sampling(temperature=1.0)}, {"caching": AnswerCaching.BYPASSED}],
    ids=str,
)
async def test_answer_that_may_not_be_shared_is_asked_for_each_time(options: dict[str, Any]) -> None:
    asking, model = caching(), Model()
    for _ in range(2):
        assert not (await read(asking, model, first=composed(**options)))[0].is_shared
    assert model.asked == 2


async def test_model_whose_own_temperature_is_zero_need_not_be_told() -> None:
    asking, model = caching(greedy_models=["small"]), Model()
    for _ in range(2):
        await read(asking, model, first=composed(sampling=Sampling()))
    assert model.asked == 1


async def test_answer_without_passages_is_not_kept() -> None:
    asking, model = caching(), Model()
    empty = replace(composed([]), report=None)
    for _ in range(2):
        events = await read(asking, model, first=empty)
        assert not events[0].is_shared
        assert events[-1] is FinishReason.NO_RELEVANT_CONTENT


async def test_answer_of_a_fallback_is_not_kept() -> None:
    asking, spare = caching(), Model("spare")
    down = Model(error=Unavailable("PROVIDER_FAILED", "down"))
    for _ in range(2):
        events = await read(asking, down, spare)
        assert (events[0].is_fallback, events[0].is_shared) == (True, False)
    assert (down.asked, spare.asked) == (2, 2)


async def test_answer_that_its_provider_withheld_is_not_kept() -> None:
    asking, model = caching(), Model(reason=FinishReason.POLICY)
    for _ in range(2):
        await read(asking, model)
    assert model.asked == 2


async def test_answer_that_broke_is_an_error_for_all_and_not_kept() -> None:
    asking, model = caching(), Model(error=Unavailable("PROVIDER_FAILED", "down"))
    failed = await asyncio.gather(*(read(asking, model) for _ in range(3)), return_exceptions=True)
    assert {each.reason for each in failed if isinstance(each, RagError)} == {"PROVIDER_FAILED"}
    assert model.asked == 1
    model.error = None
    assert not (await read(asking, model))[0].is_shared


async def test_store_that_fails_costs_the_caller_nothing() -> None:
    class Down:
        async def get(self, tenant_id: str, key: str) -> bytes | None:
            raise Unavailable("CACHE_DOWN", "down")

        async def put(self, tenant_id: str, key: str, value: bytes) -> None:
            raise Unavailable("CACHE_DOWN", "down")

    class Garbled(MemoryAnswerStore):
        async def get(self, tenant_id: str, key: str) -> bytes | None:
            return b"[[1]]"

    for store in (Down(), Garbled(10_000, 60.0)):
        model = Model()
        assert text_of(await read(caching(store), model)) == "It waits at dawn. It eats fish."
        assert model.asked == 1


async def test_counter_tells_where_answers_come_from() -> None:
    registry = CollectorRegistry()
    asking, model = caching(registry=registry), Model()
    for _ in range(3):
        await read(asking, model)
    counts = {
        outcome: registry.get_sample_value("rag_answer_cache_requests_total", {"outcome": outcome})
        for outcome in ("asked", "kept", "joined")
    }
    assert counts == {"asked": 1, "kept": 2, "joined": None}
