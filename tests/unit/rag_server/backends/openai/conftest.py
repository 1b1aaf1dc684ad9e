from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from rag_server.backends.openai.generator import ModelOptions, OpenAiGenerator
from rag_server.backends.openai.provider import Provider, ProviderOptions
from rag_server.backends.openai.token_counts import EstimatedTokens
from tests.openai_server import OpenAiServer

MakeGenerator = Callable[..., OpenAiGenerator]
KEY = "sk-hunter2"


@pytest.fixture
async def server() -> AsyncIterator[OpenAiServer]:
    async with OpenAiServer() as running:
        yield running


@pytest.fixture
async def make_generator(server: OpenAiServer) -> AsyncIterator[MakeGenerator]:
    """Return a function that makes a generator of the server; options are the provider's."""
    async with AsyncExitStack() as stack:

        def make(model: ModelOptions | None = None, **options: Any) -> OpenAiGenerator:
            given = {"base_url": server.base_url, "api_key": KEY, "retry_wait_s": 0.001, **options}
            provider = Provider(ProviderOptions("local", **given))
            stack.push_async_callback(provider.close)
            return OpenAiGenerator(
                provider, model or ModelOptions("small", "org/small", 4096), EstimatedTokens()
            )

        yield make
