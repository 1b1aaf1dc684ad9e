from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from rag_server.errors import Unavailable
from rag_server.health import CHUNKS, EMBEDDER, INGEST, METADATA, NEEDS, OVERALL, Health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Part:
    """A part that works, or fails with `failure`, or hangs."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.hangs = False

    async def check(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure


Parts = dict[str, Part]


@pytest.fixture
def parts() -> Parts:
    return {name: Part() for name in (METADATA, CHUNKS, EMBEDDER, INGEST)}


@pytest.fixture
def health(parts: Parts) -> Health:
    checks: dict[str, Callable[[], object]] = {name: part.check for name, part in parts.items()}
    return Health(checks, interval_s=3600, timeout_s=0.05)  # type: ignore[arg-type]  # bound coroutines


@pytest.fixture
async def stub(health: Health) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(None)


async def status(stub: Any, service: str) -> int:
    response: health_pb2.HealthCheckResponse = await stub.Check(
        health_pb2.HealthCheckRequest(service=service)
    )
    return response.status


async def down(stub: Any) -> set[str]:
    return {service for service in NEEDS if await status(stub, service) == NOT_SERVING}


async def test_health_with_all_parts_is_serving(health: Health, stub: Any) -> None:
    await health.check()
    assert await status(stub, OVERALL) == SERVING
    assert await down(stub) == set()
    assert [(each.name, each.is_serving) for each in health.components()] == [
        (name, True) for name in sorted((METADATA, CHUNKS, EMBEDDER, INGEST))
    ]


@pytest.mark.parametrize("part", [METADATA, CHUNKS, EMBEDDER, INGEST])
async def test_health_part_that_fails_takes_down_the_services_that_need_it_until_it_is_back(
    health: Health, stub: Any, parts: Parts, part: str
) -> None:
    await health.check()
    parts[part].failure = Unavailable("A_REASON", "m")
    with capture_logs() as logs:
        await health.check()
        await health.check()
    assert [(each["component"], each["is_serving"], each["reason"]) for each in logs] == [
        (part, False, "A_REASON")
    ]
    assert await down(stub) == {service for service, needs in NEEDS.items() if part in needs}
    assert await status(stub, OVERALL) == NOT_SERVING
    parts[part].failure = None
    await health.check()
    assert await down(stub) == set()
    assert await status(stub, OVERALL) == SERVING


async def test_health_retrieval_does_without_the_embedder(health: Health, stub: Any, parts: Parts) -> None:
    parts[EMBEDDER].failure = Unavailable("R", "m")
    await health.check()
    assert await status(stub, "rag.v1.RetrieveService") == SERVING
    assert await status(stub, "rag.v1.GenerateService") == NOT_SERVING


async def test_health_part_that_worked_and_is_slow_for_once_is_busy_not_down(
    health: Health, stub: Any, parts: Parts
) -> None:
    await health.check()
    parts[METADATA].hangs = True
    for _ in range(2):
        await health.check()
        assert await status(stub, OVERALL) == SERVING
    await health.check()
    assert await status(stub, OVERALL) == NOT_SERVING


async def test_health_part_that_does_not_answer_in_time_is_down(
    health: Health, parts: Parts, stub: Any
) -> None:
    parts[CHUNKS].hangs = True
    await health.check()
    assert [each.name for each in health.components() if not each.is_serving] == [CHUNKS]


async def test_health_check_that_breaks_is_a_part_that_is_down_and_checking_goes_on(
    health: Health, parts: Parts
) -> None:
    parts[METADATA].failure = ValueError("hunter2")
    with capture_logs() as logs:
        await health.check()
    assert [each.name for each in health.components() if not each.is_serving] == [METADATA]
    assert "ValueError" in str(logs)
    assert "hunter2" not in str(logs)
    parts[METADATA].failure = None
    await health.check()
    assert all(each.is_serving for each in health.components())


async def test_health_watch_sends_each_change(health: Health, stub: Any, parts: Parts) -> None:
    await health.check()
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="rag.v1.RetrieveService"))
    assert (await watch.read()).status == SERVING
    parts[CHUNKS].failure = Unavailable("R", "m")
    await health.check()
    assert (await watch.read()).status == NOT_SERVING
    parts[CHUNKS].failure = None
    await health.check()
    assert (await watch.read()).status == SERVING
    await health.leave()
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()


async def test_health_after_leave_is_not_serving_whatever_the_checks_find(health: Health, stub: Any) -> None:
    await health.check()
    await health.leave()
    await health.check()
    assert await down(stub) == set(NEEDS)
    assert await status(stub, OVERALL) == NOT_SERVING


async def test_health_of_an_unknown_service_is_not_found(health: Health, stub: Any) -> None:
    await health.check()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await status(stub, "rag.v1.NoService")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="rag.v1.NoService"))
    assert (await watch.read()).status == SERVICE_UNKNOWN
    watch.cancel()


async def test_health_run_checks_again_and_again(parts: Parts) -> None:
    rounds = asyncio.Semaphore(0)

    async def check() -> None:
        rounds.release()

    health = Health({METADATA: check}, interval_s=0.001)
    task = asyncio.create_task(health.run())
    for _ in range(3):
        await rounds.acquire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
