"""F11 for vLLM: an engine that is killed in mid-answer, in a server process of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from rag.v1 import admin_service_pb2 as admin_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import options_pb2
from rag_server.testing.server_process import ServerProcess, ServerStarter
from rag_server.testing.tiny_llama import make_tiny_llama
from tests.faults.polling import until
from tests.rag_client import RagClient, failure, failure_of

HERON = "The grey heron waits by the river at dawn."
ENGINE_TIMEOUT_S = 900.0


def settings_of(model: Path) -> dict[str, object]:
    here = {
        "kind": "vllm",
        "enforce_eager": True,
        "kv_cache_bytes": 64 * 1024**2,
        "cpu_threads": 1,
        "start_timeout_s": 900,
        "engine": {"distributed_executor_backend": "mp"},  # with a worker, that can die by itself
    }
    tiny = {"provider": "here", "id": str(model), "window_tokens": 4096, "temperature": 0.0}
    return {
        "models__providers": json.dumps({"here": here}),
        "models__models": json.dumps({"tiny": tiny}),
        "server__health_interval_s": 0.1,
    }


def engine_processes(server: ServerProcess) -> list[psutil.Process]:
    """Return vLLM's processes, the engine before its worker."""
    children = psutil.Process(server.pid).children(recursive=True)
    return [each for each in children if each.name().startswith("VLLM")]


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def ask(client: RagClient, model: str, **generation: Any) -> Any:
    options = options_pb2.GenerationOptions(model=model, **generation)
    request = generate_pb.StreamGenerateRequest(
        collection_ids=["birds"], question="When does the heron wait?", generation=options
    )
    return client.generate.StreamGenerate(request, timeout=120)


async def answer(client: RagClient, model: str) -> str:
    """Return a whole answer."""
    return "".join([event.delta.text async for event in ask(client, model)])


async def read(call: Any, worker: psutil.Process) -> tuple[str, grpc.aio.AioRpcError]:
    """Kill the worker after the first words; return all that come, and the error that they end with."""
    text = ""
    try:
        while (event := await call.read()) is not grpc.aio.EOF:
            assert not event.HasField("finished")
            text += event.delta.text
            if text and worker.is_running():
                worker.kill()
    except grpc.aio.AioRpcError as error:
        return text, error
    raise AssertionError("the answer ended without an error")


async def looked_up(client: RagClient) -> int:
    """Return how many tokens of prompts the engine has been given, as the server counts them."""
    info = await client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())
    return next(each.engine.prompt_token_count for each in info.models if each.name == "tiny")


async def serving(client: RagClient) -> dict[str, bool]:
    info = await client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())
    return {each.name: each.is_serving for each in info.components}


@pytest.mark.timeout(1200)  # vLLM takes half a minute of two cores to start
async def test_engine_that_is_killed_in_mid_answer_ends_it_unavailable_and_comes_back(
    start_server: ServerStarter, tmp_path: Path
) -> None:
    server = start_server(**settings_of(make_tiny_llama(tmp_path / "model")))
    address = str(server.wait_for_event("serving", timeout_s=ENGINE_TIMEOUT_S)["address"])
    async with RagClient(address) as client:
        await client.create_collection("birds")
        await client.ingest_text("birds", HERON)
        engine, worker = engine_processes(server)
        assert (await serving(client))["model:tiny"]

        text, error = await read(ask(client, "tiny", temperature=2.0, max_answer_tokens=3000), worker)
        failed = failure_of(error)
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "VLLM_ENGINE_DEAD")
        assert failed.retry_after_s is not None
        assert failed.metadata["model"] == "tiny"
        assert text

        async with asyncio.timeout(60):
            while (await serving(client))["model:tiny"]:  # noqa: ASYNC110 - health is asked for
                await asyncio.sleep(0.05)
        asked_meanwhile = await failure(ask(client, "tiny"))
        assert asked_meanwhile.code == grpc.StatusCode.UNAVAILABLE
        assert asked_meanwhile.reason in {"VLLM_ENGINE_DEAD", "VLLM_ENGINE_RESTARTING"}
        assert asked_meanwhile.retry_after_s is not None
        assert await answer(client, "extractive") == HERON
        looked_up_before = await looked_up(client)
        assert looked_up_before > 0
        await until(lambda: has_ended(engine))

        async with asyncio.timeout(ENGINE_TIMEOUT_S):
            while not (await serving(client))["model:tiny"]:  # noqa: ASYNC110 - health is asked for
                await asyncio.sleep(0.05)
        assert await answer(client, "tiny") == "It waits at dawn."
        assert await looked_up(client) > looked_up_before, "counters go on"
        again = engine_processes(server)
        assert len(again) == 2
        assert not {each.pid for each in again} & {engine.pid, worker.pid}
    assert server.stop() == 0
    await until(lambda: all(has_ended(each) for each in again))
