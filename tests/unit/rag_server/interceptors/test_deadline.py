from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from rag_server.interceptors.call import Call
from rag_server.interceptors.deadline import Deadline
from tests.rag_client import failure
from tests.unit.rag_server.interceptors.conftest import KINDS, Serve, request, requests_of, response


@pytest.mark.parametrize("kind", KINDS)
async def test_deadline_default_ends_a_call_whose_client_set_none(serve: Serve, kind: str) -> None:
    unwound = asyncio.Event()

    async def unary(given: Any, context: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            unwound.set()

    async def stream(given: Any, context: Any) -> Any:
        yield response()
        await unary(given, context)

    is_unary = kind == "unary_unary"
    served = await serve(
        {kind: stream if kind.endswith("stream") else unary},
        default_deadline_s=0.05 if is_unary else 3600,
        default_stream_deadline_s=3600 if is_unary else 0.05,
    )
    found = await failure(served.call(kind, requests_of(kind, request())))
    assert (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert "the server's default deadline of 0.05 s" in found.message
    assert unwound.is_set()


async def test_deadline_of_the_client_reaches_the_servicer_as_cancellation(serve: Serve) -> None:
    unwound = asyncio.Event()

    async def hang(given: Any, context: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            unwound.set()

    served = await serve({"unary_unary": hang})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.call("unary_unary", timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(unwound.wait(), 30)


async def test_deadline_of_the_client_may_be_later_than_the_default(serve: Serve) -> None:
    async def slow(given: Any, context: Any) -> Any:
        await asyncio.sleep(0.05)
        return response("done")

    served = await serve({"unary_unary": slow}, default_deadline_s=0.001)
    assert (await served.call("unary_unary", timeout=60)).job.id == "done"


async def test_deadline_timeout_of_somebody_else_is_not_the_calls() -> None:
    class Context:
        def time_remaining(self) -> None:
            return None

    call = Call("/rag.v1.T/m", Context(), is_streaming=False)  # type: ignore[arg-type]  # all that is asked
    with pytest.raises(TimeoutError, match="a store's"):
        async with Deadline(unary_s=30, stream_s=30).around(call):
            raise TimeoutError("a store's")


@pytest.mark.parametrize(("remaining", "is_callers"), [(400.0, True), (None, False)])
@pytest.mark.parametrize(("is_streaming", "default_s"), [(False, 100.0), (True, 200.0)])
async def test_deadline_is_told_to_the_call(
    remaining: float | None, is_callers: bool, is_streaming: bool, default_s: float
) -> None:
    class Context:
        def time_remaining(self) -> float | None:
            return remaining

    call = Call("/rag.v1.T/m", Context(), is_streaming=is_streaming)  # type: ignore[arg-type]  # all that is asked
    async with Deadline(unary_s=100, stream_s=200).around(call):
        assert call.limit is not None
        assert call.limit.is_callers is is_callers
        seconds = remaining or default_s
        assert seconds - 60 < call.limit.left_s() <= seconds
