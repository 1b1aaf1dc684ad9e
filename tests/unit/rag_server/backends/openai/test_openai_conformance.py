from __future__ import annotations

import pytest

from rag_server.backends.openai.generator import OpenAiGenerator
from rag_server.testing.generator_suite import GeneratorSuite
from tests.openai_server import Behaviour, OpenAiServer, Stream
from tests.unit.rag_server.backends.openai.conftest import MakeGenerator

TOKENS = ("It ", "waits ", "at ", "dawn ", "[1].")


class ObedientServer(OpenAiServer):
    """Keeps to `max_tokens`, as providers do."""

    def next_behaviour(self) -> Behaviour:
        limit = self.bodies[-1]["max_tokens"]
        told = TOKENS[:limit]
        return Stream.of(*told, reason="length" if limit < len(TOKENS) else "stop", usage=(20, len(told)))


class TestOpenAiGenerator(GeneratorSuite):
    @pytest.fixture
    async def server(self):  # type: ignore[no-untyped-def]
        async with ObedientServer() as running:
            yield running

    @pytest.fixture
    async def generator(self, make_generator: MakeGenerator) -> OpenAiGenerator:
        return make_generator()
