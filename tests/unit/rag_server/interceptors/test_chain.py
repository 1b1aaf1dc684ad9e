from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from rag.v1.ingest_service_pb2 import GetJobResponse
from tests.rag_client import failure
from tests.unit.rag_server.interceptors.conftest import (
    KINDS,
    Serve,
    each_of,
    read,
    request,
    requests_of,
    response,
)

UNDECODABLE = b"\x0a\xff"
"""A string field of 255 bytes of which none follow."""


async def echo_unary(given: Any, context: Any) -> GetJobResponse:
    return response(given.job_id)


async def echo_twice(given: Any, context: Any) -> Any:
    yield response(given.job_id)
    yield response(given.job_id)


async def join_stream(given: Any, context: Any) -> GetJobResponse:
    return response("+".join([each.job_id async for each in given]))


async def echo_stream(given: Any, context: Any) -> Any:
    async for each in given:
        yield response(each.job_id)


ECHOES = {
    "unary_unary": echo_unary,
    "unary_stream": echo_twice,
    "stream_unary": join_stream,
    "stream_stream": echo_stream,
}
EXPECTED = {
    "unary_unary": ["a"],
    "unary_stream": ["a", "a"],
    "stream_unary": ["a+b"],
    "stream_stream": ["a", "b"],
}


@pytest.mark.parametrize("kind", KINDS)
async def test_chain_passes_requests_and_responses_of_every_kind(serve: Serve, kind: str) -> None:
    served = await serve(ECHOES)
    for _ in range(2):  # the second finds the wrapped handler
        call = served.call(kind, requests_of(kind, request("a"), request("b")))
        assert [each.job.id for each in await read(call)] == EXPECTED[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_chain_undecodable_request_is_invalid_argument(serve: Serve, kind: str) -> None:
    served = await serve(ECHOES)
    found = await failure(served.call(kind, requests_of(kind, UNDECODABLE), raw=True))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE_REQUEST")
    call = served.call(kind, requests_of(kind, request("a"), request("b")))
    assert [each.job.id for each in await read(call)] == EXPECTED[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_chain_request_that_breaks_a_rule_never_reaches_the_servicer(serve: Serve, kind: str) -> None:
    served = await serve(ECHOES)
    found = await failure(served.call(kind, requests_of(kind, request("x" * 65))))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert set(found.violations) == {"job_id"}


@pytest.mark.parametrize("bad", [request("x" * 65).SerializeToString(), UNDECODABLE])
async def test_chain_later_request_of_a_stream_is_checked_too(serve: Serve, bad: bytes) -> None:
    served = await serve(ECHOES)
    call = served.call("stream_stream", each_of(request("a").SerializeToString(), bad), raw=True)
    assert (await call.read()).job.id == "a"
    assert (await failure(call)).code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", KINDS)
async def test_chain_call_cancelled_by_the_caller_unwinds_the_servicer_at_once(
    serve: Serve, kind: str
) -> None:
    entered, unwound = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            unwound.set()

    async def unary(given: Any, context: Any) -> GetJobResponse:
        await hang()
        return response()

    async def stream(given: Any, context: Any) -> Any:
        yield response()
        await hang()

    served = await serve({kind: stream if kind.endswith("stream") else unary})
    call = served.call(kind, requests_of(kind, request()))
    if kind.endswith("stream"):
        await call.read()
    await entered.wait()
    call.cancel()
    await asyncio.wait_for(unwound.wait(), 30)
    await served.chain.admission.idle()


async def test_chain_stream_that_nobody_reads_is_unwound_when_cancelled(serve: Serve) -> None:
    unwound = asyncio.Event()
    sent = 0

    async def flood(given: Any, context: Any) -> Any:
        nonlocal sent
        try:
            while True:
                sent += 1
                yield response("x" * 65_536)
        finally:
            unwound.set()

    served = await serve({"unary_stream": flood})
    call = served.call("unary_stream")
    await call.read()
    call.cancel()
    await asyncio.wait_for(unwound.wait(), 30)
    assert sent < 10_000  # back pressure: what nobody takes is not made


async def test_chain_method_that_does_not_exist_is_unimplemented(serve: Serve) -> None:
    served = await serve({"unary_unary": echo_unary})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.call("unary_unary", service="rag.v1.NoService")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_chain_leaves_services_of_others_alone(serve: Serve) -> None:
    served = await serve({"unary_unary": echo_unary}, service="grpc.health.v1.Health", max_concurrent_calls=1)
    call = served.call("unary_unary", request("x" * 65), service="grpc.health.v1.Health")
    assert (await call).job.id == "x" * 65
    assert not await call.trailing_metadata()
