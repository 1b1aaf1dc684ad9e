from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from rag_server.errors import ResourceExhausted
from rag_server.interceptors.admission import WATCHES, Admission
from rag_server.interceptors.call import Call
from tests.rag_client import failure
from tests.unit.rag_server.interceptors.conftest import Serve, response


class Gate:
    """A method that lets calls in and holds them until it is opened."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.is_open = asyncio.Event()

    async def unary(self, given: Any, context: Any) -> Any:
        self.entered.release()
        await self.is_open.wait()
        return response()


async def test_admission_call_over_the_limit_is_refused_with_a_time_to_come_back(serve: Serve) -> None:
    gate = Gate()
    served = await serve({"unary_unary": gate.unary}, max_concurrent_calls=2)
    calls = [served.call("unary_unary") for _ in range(2)]
    for _ in calls:
        await gate.entered.acquire()
    found = await failure(served.call("unary_unary"))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CONCURRENT_CALLS")
    assert found.metadata == {"limit": "2"}
    assert found.retry_after_s == 0.5
    gate.is_open.set()
    for call in calls:
        await call
    await served.call("unary_unary")


async def test_admission_watches_take_no_permits_of_calls() -> None:
    admission = Admission(1, 1)
    call = Call("/rag.v1.AdminService/GetServerInfo", None, False)  # type: ignore[arg-type]  # not looked at
    watch = Call(next(iter(WATCHES)), None, True)  # type: ignore[arg-type]  # likewise
    with admission.around(watch), admission.around(call):
        for one_too_many in (call, watch):
            with pytest.raises(ResourceExhausted) as caught, admission.around(one_too_many):
                pass
            assert caught.value.reason == "TOO_MANY_CONCURRENT_CALLS"
        assert not admission.is_idle
    assert admission.is_idle


@pytest.mark.parametrize("ending", ["cancel", "error", "deadline"])
async def test_admission_permit_is_given_back_however_the_call_ends(serve: Serve, ending: str) -> None:
    gate = Gate()

    async def fail_after_gate(given: Any, context: Any) -> Any:
        await gate.unary(given, context)
        raise ValueError

    served = await serve(
        {"unary_unary": fail_after_gate, "unary_stream": _one_response},
        max_concurrent_calls=1,
        default_deadline_s=0.05 if ending == "deadline" else 30,
    )
    call = served.call("unary_unary")
    await gate.entered.acquire()
    if ending == "cancel":
        call.cancel()
    if ending == "error":
        gate.is_open.set()
    if ending != "cancel":
        await failure(call)
    await served.chain.admission.idle()
    assert (await served.call("unary_stream").read()).job.id == "free"


async def _one_response(given: Any, context: Any) -> Any:
    yield response("free")


async def test_admission_idle_waits_for_the_last_call(serve: Serve) -> None:
    gate = Gate()
    served = await serve({"unary_unary": gate.unary})
    await served.chain.admission.idle()
    call = served.call("unary_unary")
    await gate.entered.acquire()
    idle = asyncio.ensure_future(served.chain.admission.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    gate.is_open.set()
    await call
    await idle
