"""F10 and F11: a model that hangs, or dies in mid-answer, never looks like one that has finished."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from rag.v1 import generate_service_pb2 as generate_pb
from rag_server.app import running_server
from tests.conftest import SettingsFactory
from tests.openai_server import Hang, OpenAiServer, Stream
from tests.rag_client import RagClient, failure_of

Start = Callable[..., Awaitable[RagClient]]
TEXT = "The grey heron waits by the river at dawn."
REQUEST: dict[str, Any] = {"collection_ids": ["birds"], "question": "When does the heron wait?"}


@pytest.fixture
async def provider() -> AsyncIterator[OpenAiServer]:
    async with OpenAiServer() as running:
        yield running


@pytest.fixture
async def start(settings: SettingsFactory, provider: OpenAiServer) -> AsyncIterator[Start]:
    """Return a function that runs a server with one model of the provider; options are the provider's."""
    async with AsyncExitStack() as stack:

        async def run(**options: Any) -> RagClient:
            models = {
                "providers": {"local": {"base_url": provider.base_url, **options}},
                "models": {
                    "small": {"provider": "local", "id": "org/small", "window_tokens": 4096},
                    "spare": {"provider": "local", "id": "org/spare", "window_tokens": 4096},
                },
                "aliases": {"default": {"small": 1.0}},
                "fallbacks": ["spare", "extractive"],
            }
            made = settings(models=models, server={"health_interval_s": 3600.0})
            running = await stack.enter_async_context(running_server(made))
            client = await stack.enter_async_context(RagClient(running.address))
            await client.create_collection("birds")
            await client.ingest_text("birds", TEXT)
            return client

        yield run


async def read(client: RagClient, timeout_s: float = 60) -> tuple[str, list[str], grpc.aio.AioRpcError]:
    """Return the words of an answer that breaks, its kinds of events, and its error."""
    text, kinds = "", []
    call = client.generate.StreamGenerate(generate_pb.StreamGenerateRequest(**REQUEST), timeout=timeout_s)
    try:
        while (event := await call.read()) is not grpc.aio.EOF:
            kinds.append(str(event.WhichOneof("event")))
            text += event.delta.text
    except grpc.aio.AioRpcError as error:
        return text, kinds, error
    raise AssertionError("the answer ended without an error")


@pytest.mark.parametrize(
    ("stream", "reason", "options"),
    [
        (Stream.of("It waits ", "at the ", is_done=False), "PROVIDER_STREAM_BROKEN", {}),
        (Stream.of("It waits ", "at the ", reason=None), "PROVIDER_STREAM_BROKEN", {}),
        (Stream.of("It waits ", "at the ", hangs=True), "PROVIDER_TIMEOUT", {"read_timeout_s": 2.0}),
    ],
    ids=["dies", "stops", "hangs"],
)
async def test_answer_that_breaks_in_the_middle_ends_unavailable_after_the_words_so_far(
    start: Start, provider: OpenAiServer, stream: Stream, reason: str, options: dict[str, Any]
) -> None:
    provider.script(stream)
    text, kinds, error = await read(await start(**options))
    assert text.startswith("It waits at the")
    assert "finished" not in kinds
    failed = failure_of(error)
    assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, reason)
    assert failed.retry_after_s is not None
    assert len(provider.bodies) == 1, "no other model goes on with it"


async def test_answer_in_one_response_that_breaks_is_an_error_not_a_short_answer(
    start: Start, provider: OpenAiServer
) -> None:
    provider.script(Stream.of("It waits ", is_done=False))
    client = await start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.generate.Generate(generate_pb.GenerateRequest(**REQUEST), timeout=60)
    assert failure_of(caught.value).reason == "PROVIDER_STREAM_BROKEN"


async def test_provider_that_hangs_ends_the_call_at_its_deadline(
    start: Start, provider: OpenAiServer
) -> None:
    client = await start()
    await client.generate.Generate(generate_pb.GenerateRequest(**REQUEST), timeout=60)  # warms it up
    provider.script(Hang())
    text, kinds, error = await read(client, timeout_s=5)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (text, "finished" in kinds) == ("", False)
    await asyncio.wait_for(provider.abandoned.wait(), 30)


async def test_provider_that_goes_away_is_replaced_by_what_needs_none(
    start: Start, provider: OpenAiServer
) -> None:
    client = await start(attempts=1)
    await provider.__aexit__()
    response = await client.generate.Generate(generate_pb.GenerateRequest(**REQUEST), timeout=60)
    assert response.model == "extractive"
    assert response.answer == TEXT
