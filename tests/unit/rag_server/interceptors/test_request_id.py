from __future__ import annotations

import re
from typing import Any

import pytest

from rag_server.errors import NotFound
from rag_server.interceptors.call import current_call
from tests.rag_client import failure
from tests.unit.rag_server.interceptors.conftest import KINDS, Serve, read, request, requests_of, response

MADE = re.compile(r"[0-9a-f]{32}")
REFUSED = ["short", "x" * 65, "with space-1234", "semi;colon-1234", "ü-12345678"]


async def show(given: Any, context: Any) -> Any:
    return response(current_call.get().request_id)


async def show_stream(given: Any, context: Any) -> Any:
    yield response(current_call.get().request_id)


SHOWS = {
    "unary_unary": show,
    "unary_stream": show_stream,
    "stream_unary": show,
    "stream_stream": show_stream,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_request_id_that_is_well_formed_is_taken_and_sent_back(serve: Serve, kind: str) -> None:
    served = await serve(SHOWS)
    call = served.call(kind, requests_of(kind, request()), metadata=[("x-request-id", "my.id_12-34")])
    assert [each.job.id for each in await read(call)] == ["my.id_12-34"]
    assert dict(await call.trailing_metadata())["x-request-id"] == "my.id_12-34"


@pytest.mark.parametrize("given", [each for each in REFUSED if each.isascii()])
async def test_request_id_that_is_malformed_is_replaced(serve: Serve, given: str) -> None:
    served = await serve(SHOWS)
    call = served.call("unary_unary", metadata=[("x-request-id", given)])
    found = (await call).job.id
    assert MADE.fullmatch(found)
    assert dict(await call.trailing_metadata())["x-request-id"] == found


async def test_request_id_absent_is_made_anew_for_each_call(serve: Serve) -> None:
    served = await serve(SHOWS)
    ids = {(await served.call("unary_unary")).job.id for _ in range(3)}
    assert len(ids) == 3
    assert all(map(MADE.fullmatch, ids))


async def test_request_id_is_in_error_and_trailing_metadata(serve: Serve) -> None:
    async def fail(given: Any, context: Any) -> Any:
        raise NotFound.for_resource("job", "x")

    served = await serve({"unary_unary": fail})
    call = served.call("unary_unary", metadata=[("x-request-id", "my-id-1234")])
    assert (await failure(call)).request_id == "my-id-1234"
    assert dict(await call.trailing_metadata())["x-request-id"] == "my-id-1234"
