"""Answers that are kept and shared, over gRPC: a real server, and a provider that counts what it is asked."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from rag.v1 import conversation_service_pb2 as conversation_pb
from rag.v1 import generate_service_pb2 as pb
from rag.v1 import options_pb2
from rag_server.app import running_server
from tests.caches import REDIS_URL, own_keys
from tests.conftest import make_settings
from tests.faults.polling import until
from tests.openai_server import OpenAiServer, Stream
from tests.rag_client import RagClient, next_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERON = "The grey heron waits by the river at dawn. It eats small fish and frogs."
QUESTION = "When does the grey heron wait by the river?"
TOKENS = ("It waits at ", "dawn [1]. ", "It eats ", "fish [1].")
WHOLE = "It waits at dawn. It eats fish."


@dataclass
class Rig:
    client: RagClient
    provider: OpenAiServer
    collection: str

    def ask(self, kind: Any = pb.StreamGenerateRequest, **generation: Any) -> Any:
        options = {"max_answer_tokens": 64, "temperature": 0.0, **generation}
        request = kind(
            collection_ids=[self.collection],
            question=QUESTION,
            generation=options_pb2.GenerationOptions(**options),
        )
        method = "Generate" if kind is pb.GenerateRequest else "StreamGenerate"
        return getattr(self.client.generate, method)(request, timeout=60)

    async def answer(self, **generation: Any) -> pb.GenerateResponse:
        response = await self.ask(pb.GenerateRequest, **generation)
        assert isinstance(response, pb.GenerateResponse)
        return response


def models_of(provider: OpenAiServer, **model: Any) -> dict[str, Any]:
    """Return the settings of one model at `provider`; `model`: further ones of its own."""
    return {
        "providers": {"local": {"base_url": provider.base_url, "attempts": 1}},
        "models": {"small": {"provider": "local", "id": "org/small", "window_tokens": 4096, **model}},
        "aliases": {"default": {"small": 1.0}},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with OpenAiServer() as provider:
        made = make_settings(
            tmp_path_factory.mktemp("server"),
            models=models_of(provider),
            answers={"cache_bytes": 1_000_000},
            server={"health_interval_s": 3600.0},
        )
        async with running_server(made) as running, RagClient(running.address) as client:
            yield Rig(client, provider, "")


@pytest_asyncio.fixture(loop_scope="module")
async def rig(shared: Rig) -> Rig:
    """Return the server with a collection of the test's own, and a provider that has seen nothing yet."""
    shared.provider.forget()
    shared.provider.default = Stream.of(*TOKENS)
    rig = Rig(shared.client, shared.provider, f"birds-{uuid.uuid4().hex[:8]}")
    await rig.client.create_collection(rig.collection)
    await rig.client.ingest_text(rig.collection, HERON, "heron.txt")
    return rig


async def read(call: Any) -> list[pb.StreamGenerateResponse]:
    events = []
    while (event := await call.read()) is not grpc.aio.EOF:
        events.append(event)
    return events


async def test_same_question_again_asks_no_model_and_says_so(rig: Rig) -> None:
    first, second = await rig.answer(), await rig.answer()
    streamed = await read(rig.ask())

    assert len(rig.provider.bodies) == 1
    assert [first.from_cache, second.from_cache] == [False, True]
    assert (first.usage.answer_token_count, second.usage.answer_token_count) == (7, 0)
    assert first.answer == second.answer == WHOLE
    assert first.citations == second.citations
    assert first.model == second.model == "small"
    assert second.sources
    assert streamed[-1].finished.from_cache
    assert "".join(event.delta.text for event in streamed) == WHOLE


async def test_document_that_has_changed_is_read_again(rig: Rig) -> None:
    await rig.answer()
    await rig.client.ingest_text(rig.collection, HERON + " It sleeps at noon.", "heron.txt")
    assert not (await rig.answer()).from_cache
    assert (await rig.answer()).from_cache


async def test_other_parameters_and_a_caller_who_wants_none_get_their_own_answers(rig: Rig) -> None:
    await rig.answer()
    assert not (await rig.answer(max_answer_tokens=65)).from_cache
    assert not (await rig.answer(temperature=0.5)).from_cache
    assert not (await rig.answer(temperature=0.5)).from_cache
    assert not (await rig.answer(cache=options_pb2.ANSWER_CACHING_BYPASSED)).from_cache
    assert not (await rig.answer(temperature=0.5, cache=options_pb2.ANSWER_CACHING_ALLOWED)).from_cache
    assert (await rig.answer(temperature=0.5, cache=options_pb2.ANSWER_CACHING_ALLOWED)).from_cache
    assert (await rig.answer()).from_cache


async def test_callers_at_the_same_time_share_one_generation_as_long_as_one_stays(rig: Rig) -> None:
    gate = asyncio.Event()
    rig.provider.script(Stream.of(*TOKENS, gate=gate))
    calls = [rig.ask() for _ in range(4)]
    for call in calls:
        while not (await next_of(call)).HasField("delta"):
            pass
    calls[0].cancel()
    gate.set()
    rest = [await read(call) for call in calls[1:]]

    assert len(rig.provider.bodies) == 1
    assert all(events[-1].HasField("finished") for events in rest)


async def test_last_caller_who_leaves_stops_the_model(rig: Rig) -> None:
    rig.provider.script(Stream.of("It waits at ", hangs=True))
    calls = [rig.ask() for _ in range(3)]
    for call in calls:
        while not (await next_of(call)).HasField("delta"):
            pass
    for call in calls:
        assert rig.provider.running == 1
        call.cancel()
    await asyncio.wait_for(rig.provider.abandoned.wait(), 60)
    await until(lambda: rig.provider.running == 0)
    assert not (await rig.answer()).from_cache


async def test_question_of_a_conversation_is_recorded_though_no_model_is_asked(rig: Rig) -> None:
    answers = []
    for _ in range(2):
        created = await rig.client.conversations.CreateConversation(
            conversation_pb.CreateConversationRequest()
        )
        request = pb.GenerateRequest(
            collection_ids=[rig.collection],
            question=QUESTION,
            conversation_id=created.conversation.id,
            generation=options_pb2.GenerationOptions(max_answer_tokens=64, temperature=0.0),
        )
        answers.append(await rig.client.generate.Generate(request, timeout=60))
        listed = await rig.client.conversations.ListMessages(
            conversation_pb.ListMessagesRequest(conversation_id=created.conversation.id)
        )
        assert [message.text for message in listed.messages] == [QUESTION, WHOLE]
    assert [each.from_cache for each in answers] == [False, True]


async def test_answer_in_redis_outlives_the_server_and_is_not_taken_where_settings_differ(
    tmp_path: Path,
) -> None:
    async with own_keys() as (prefix, _), OpenAiServer(Stream.of(*TOKENS)) as provider:
        answers = {"cache_url": REDIS_URL, "cache_prefix": prefix, "cache_timeout_s": 10.0}
        found = []
        for temperature in (0.0, 0.0, 0.5):
            made = make_settings(
                tmp_path, models=models_of(provider, temperature=temperature), answers=answers
            )
            async with running_server(made) as running, RagClient(running.address) as client:
                if not found:
                    await client.create_collection("birds")
                    await client.ingest_text("birds", HERON, "heron.txt")
                assert "answers" in {each.name for each in running.health.components() if each.is_serving}
                response = await Rig(client, provider, "birds").answer()
                found.append((response.answer, response.from_cache))
        assert found == [(WHOLE, False), (WHOLE, True), (WHOLE, False)]
        assert len(provider.bodies) == 2


async def test_models_answer_while_redis_is_gone(tmp_path: Path) -> None:
    async with OpenAiServer() as no_redis:
        url = f"redis://127.0.0.1:{no_redis.port}/0"
    async with OpenAiServer(Stream.of(*TOKENS)) as provider:
        made = make_settings(tmp_path, models=models_of(provider), answers={"cache_url": url})
        async with running_server(made) as running, RagClient(running.address) as client:
            await client.create_collection("birds")
            await client.ingest_text("birds", HERON, "heron.txt")
            components = {each.name: each.is_serving for each in running.health.components()}
            assert not components["answers"]
            for _ in range(5):
                response = await Rig(client, provider, "birds").answer()
                assert (response.answer, response.from_cache) == (WHOLE, False)
        assert len(provider.bodies) == 5
