from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rag_server.errors import NotFound
from rag_server.interceptors.access_log import AccessLog
from rag_server.interceptors.call import Call
from tests.rag_client import failure
from tests.unit.rag_server.interceptors.conftest import Serve, read, request, response

CONTENT = "what-the-caller-asks"


async def echo(given: Any, context: Any) -> Any:
    return response(given.job_id)


def calls_in(logs: list[Any]) -> list[Any]:
    return [each for each in logs if each["event"] == "call"]


async def test_access_log_of_a_call_has_its_outcome_and_no_content(serve: Serve, logs: list[Any]) -> None:
    served = await serve({"unary_unary": echo})
    await served.call("unary_unary", request(CONTENT), metadata=[("x-request-id", "my-id-1234")])
    await served.ended()
    (entry,) = calls_in(logs)
    assert entry.pop("duration_ms") >= 0
    assert abs(datetime.fromisoformat(entry.pop("timestamp")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert entry == {
        "event": "call",
        "log_level": "info",
        "method": "/rag.v1.TestService/unary_unary",
        "tenant": "default",
        "status": "OK",
        "request_id": "my-id-1234",
    }


async def test_access_log_of_an_error_has_status_and_reason_and_no_content(
    serve: Serve, logs: list[Any]
) -> None:
    async def fail(given: Any, context: Any) -> Any:
        raise NotFound.for_resource("job", given.job_id)

    served = await serve({"unary_unary": fail})
    await failure(served.call("unary_unary", request(CONTENT)))
    await served.ended()
    (entry,) = calls_in(logs)
    assert (entry["status"], entry["reason"], entry["log_level"]) == ("NOT_FOUND", "JOB_NOT_FOUND", "info")
    assert CONTENT not in str(logs)


async def test_access_log_of_an_internal_error_is_an_error(serve: Serve, logs: list[Any]) -> None:
    async def fail(given: Any, context: Any) -> Any:
        raise ValueError(given.job_id)

    served = await serve({"unary_unary": fail})
    await failure(served.call("unary_unary", request(CONTENT)))
    await served.ended()
    (entry,) = calls_in(logs)
    assert (entry["status"], entry["log_level"]) == ("INTERNAL", "error")
    assert CONTENT not in str(logs)


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_access_log_of_a_cancelled_call_says_so(serve: Serve, logs: list[Any], kind: str) -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def unary(given: Any, context: Any) -> Any:
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            left.set()

    async def stream(given: Any, context: Any) -> Any:
        yield response()
        await unary(given, context)

    served = await serve({kind: unary if kind == "unary_unary" else stream})
    call = served.call(kind)
    await entered.wait()
    call.cancel()
    await left.wait()
    await served.ended()
    (entry,) = calls_in(logs)
    assert entry["status"] == "CANCELLED"


async def test_access_log_of_a_stream_is_one_line(serve: Serve, logs: list[Any]) -> None:
    async def stream(given: Any, context: Any) -> Any:
        for _ in range(3):
            yield response(CONTENT)

    served = await serve({"unary_stream": stream})
    assert len(await read(served.call("unary_stream"))) == 3
    await served.ended()
    assert len(calls_in(logs)) == 1
    assert CONTENT not in str(logs)


async def test_access_log_lines_that_wait_are_written_soon_each_with_its_own_id(
    serve: Serve, logs: list[Any]
) -> None:
    served = await serve({"unary_unary": echo})
    ids = ["first-call", "second-call"]
    for each in ids:
        await served.call("unary_unary", metadata=[("x-request-id", each)])
    async with asyncio.timeout(30):
        while len(calls_in(logs)) < len(ids):  # noqa: ASYNC110 - the log sets no event
            await asyncio.sleep(0.01)
    assert [each["request_id"] for each in calls_in(logs)] == ids


async def test_access_log_of_an_error_follows_the_lines_that_wait(serve: Serve, logs: list[Any]) -> None:
    async def fail_when_asked(given: Any, context: Any) -> Any:
        if given.job_id == "fail":
            raise NotFound.for_resource("job", given.job_id)
        return response()

    served = await serve({"unary_unary": fail_when_asked})
    await served.call("unary_unary")
    await failure(served.call("unary_unary", request("fail")))
    await served.ended(2)
    assert [each["status"] for each in calls_in(logs)] == ["OK", "NOT_FOUND"]


async def test_access_log_many_lines_do_not_wait(serve: Serve, logs: list[Any]) -> None:
    log = AccessLog()
    for number in range(300):
        call = Call("/rag.v1.T/m", None, False, request_id=str(number))  # type: ignore[arg-type]  # not used
        with log.around(call):
            pass
    assert 256 <= len(calls_in(logs)) < 300
    log.flush()
    assert [each["request_id"] for each in calls_in(logs)] == [str(number) for number in range(300)]
