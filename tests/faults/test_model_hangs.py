"""F10: a model server that is stopped, as by SIGSTOP, holds nobody up for longer than they said."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag.v1 import generate_service_pb2 as generate_pb
from rag_server.app import running_server
from tests.conftest import SettingsFactory
from tests.rag_client import RagClient, failure_of

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio
from tests.openai_server import OpenAiServer, Stream

async def main():
    async with OpenAiServer(Stream.of("It waits at dawn [1].")) as server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
TEXT = "The grey heron waits by the river at dawn."


class ModelServer:
    """A provider in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    server = await asyncio.to_thread(ModelServer)
    yield server
    server.close()


async def ask(client: RagClient, timeout_s: float = 120) -> str:
    """Return the answer, or the reason why there is none."""
    request = generate_pb.GenerateRequest(collection_ids=["birds"], question="When does the heron wait?")
    try:
        return str((await client.generate.Generate(request, timeout=timeout_s)).answer)
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:  # found out on this side
            return error.code().name
        return failure_of(error).reason


async def ask_until(client: RagClient, expected: str) -> None:
    """Ask until the answer, or the reason of its failure, is the expected one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answered = await ask(client)
        if answered == expected:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{expected} never came, at last {answered}")


async def test_stopped_model_server_is_waited_for_until_the_deadline_then_not_asked_and_asked_again(
    settings: SettingsFactory, model: ModelServer
) -> None:
    provider: dict[str, Any] = {
        "base_url": model.base_url,
        "read_timeout_s": 1.0,
        "attempts": 1,
        "breaker_failures": 2,
        "breaker_open_s": 1.5,
    }
    models = {
        "providers": {"local": provider},
        "models": {"small": {"provider": "local", "id": "org/small", "window_tokens": 4096}},
        "aliases": {"default": {"small": 1.0}},
    }
    async with AsyncExitStack() as stack:
        made = settings(models=models, server={"health_interval_s": 3600.0})
        running = await stack.enter_async_context(running_server(made))
        client = await stack.enter_async_context(RagClient(running.address))
        await client.create_collection("birds")
        await client.ingest_text("birds", TEXT)
        assert await ask(client) == "It waits at dawn."

        model.stop()
        assert await ask(client, timeout_s=0.5) == "DEADLINE_EXCEEDED"
        for _ in range(2):  # which opens the breaker
            assert await ask(client) == "PROVIDER_TIMEOUT"
        await ask_until(client, "PROVIDER_SUSPENDED")
        await ask_until(client, "PROVIDER_TIMEOUT")  # half-open: one more request has found it as it was
        await ask_until(client, "PROVIDER_SUSPENDED")

        model.go_on()
        await ask_until(client, "It waits at dawn.")
        assert await ask(client) == "It waits at dawn.", "the breaker is closed"
