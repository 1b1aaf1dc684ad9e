from __future__ import annotations

import asyncio
from typing import Any

from rag_server.errors import NotFound
from tests.rag_client import failure
from tests.unit.rag_server.interceptors.conftest import Serve, Served, response

METHOD = "/rag.v1.TestService/unary_unary"


def count(served: Served, status: str) -> float:
    return served.registry.get_sample_value("rag_calls_total", {"method": METHOD, "status": status}) or 0


def value(served: Served, name: str) -> float | None:
    return served.registry.get_sample_value(name, {"method": METHOD})


async def test_metrics_count_calls_by_status_and_observe_durations(serve: Serve) -> None:
    outcomes: list[Exception | None] = [None, None, NotFound("R", "m"), ValueError()]

    async def next_outcome(given: Any, context: Any) -> Any:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        return response()

    served = await serve({"unary_unary": next_outcome})
    await served.call("unary_unary")
    await served.call("unary_unary")
    await failure(served.call("unary_unary"))
    await failure(served.call("unary_unary"))
    await served.ended(4)
    assert (count(served, "OK"), count(served, "NOT_FOUND"), count(served, "INTERNAL")) == (2, 1, 1)
    assert value(served, "rag_call_seconds_count") == 4
    assert value(served, "rag_calls_active") == 0


async def test_metrics_count_a_cancelled_call_and_those_in_progress(serve: Serve) -> None:
    entered = asyncio.Event()

    async def hang(given: Any, context: Any) -> Any:
        entered.set()
        await asyncio.Event().wait()

    served = await serve({"unary_unary": hang})
    call = served.call("unary_unary")
    await entered.wait()
    assert value(served, "rag_calls_active") == 1
    call.cancel()
    await served.ended()
    assert value(served, "rag_calls_active") == 0
    assert count(served, "CANCELLED") == 1


async def test_metrics_count_a_refused_call(serve: Serve) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def wait(given: Any, context: Any) -> Any:
        entered.set()
        await release.wait()
        return response()

    served = await serve({"unary_unary": wait}, max_concurrent_calls=1)
    first = asyncio.ensure_future(served.call("unary_unary"))
    await entered.wait()
    await failure(served.call("unary_unary"))
    await served.ended()
    assert count(served, "RESOURCE_EXHAUSTED") == 1
    release.set()
    await first
