"""L3: a client stops reading its answer: it holds little, no longer than the limit, and then nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import generate_service_pb2_grpc, options_pb2
from rag_server.app import running_server
from rag_server.backends.openai.generator import OpenAiGenerator
from rag_server.domain.generation import Prompt
from tests.conftest import SettingsFactory
from tests.faults.polling import until
from tests.openai_server import OpenAiServer, Stream
from tests.rag_client import RagClient, next_of

TEXT = "The grey heron waits by the river at dawn, " + "and " * 200 + "it eats fish."
TOKENS = 20_000
SMALL_WINDOW = [
    ("grpc.http2.lookahead_bytes", 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.use_local_subchannel_pool", 1),
]
"""A client that takes little on its own, so that few answers fill its buffers."""


class Counted:
    """Counts what is taken from the model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken = 0
        self.is_closed = False
        self._generate = OpenAiGenerator.generate

        def generate(model: OpenAiGenerator, prompt: Prompt) -> AsyncGenerator[Any, None]:
            return self._counting(model, prompt)

        monkeypatch.setattr(OpenAiGenerator, "generate", generate)

    async def _counting(self, model: OpenAiGenerator, prompt: Prompt) -> AsyncGenerator[Any, None]:
        try:
            async for event in self._generate(model, prompt):
                self.taken += 1
                yield event
        finally:
            self.is_closed = True


@pytest.mark.parametrize("fields", [{}, {"resume_window_ms": 100}], ids=["plain", "resumable"])
async def test_client_that_stops_reading_its_answer_holds_little_and_is_ended(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    counted = Counted(monkeypatch)
    async with OpenAiServer(Stream.of(*["Yes [1]. "] * TOKENS)) as provider:
        used = settings(
            models={
                "providers": {"local": {"base_url": provider.base_url}},
                "models": {"small": {"provider": "local", "id": "org/small", "window_tokens": 16_384}},
                "aliases": {"default": {"small": 1.0}},
            },
            server={"stream_idle_s": 2.0, "health_interval_s": 3600.0},
            answers={"resume_buffer_bytes": 65_536},
        )
        with capture_logs() as logs:
            async with running_server(used) as server, RagClient(server.address) as client:
                await client.create_collection("birds")
                await client.ingest_text("birds", TEXT)
                channel = grpc.aio.insecure_channel(server.address, options=SMALL_WINDOW)
                call = generate_service_pb2_grpc.GenerateServiceStub(channel).StreamGenerate(
                    generate_pb.StreamGenerateRequest(
                        collection_ids=["birds"],
                        question="When does the heron wait?",
                        generation=options_pb2.GenerationOptions(max_answer_tokens=8192),
                        **fields,
                    )
                )
                while not (await next_of(call)).HasField("delta"):
                    pass
                await until(lambda: any(line.get("reason") == "STREAM_IDLE" for line in logs))
                await until(lambda: counted.is_closed and provider.running == 0)
                call.cancel()
                await channel.close()

    ended = [line for line in logs if line.get("reason") == "STREAM_IDLE"]
    assert [line["status"] for line in ended] == ["DEADLINE_EXCEEDED"]
    assert 0 < counted.taken < TOKENS / 4
