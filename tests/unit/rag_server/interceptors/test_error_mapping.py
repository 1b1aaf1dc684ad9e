from __future__ import annotations

from typing import Any

import grpc
import pytest

from rag_server.errors import (
    FieldViolation,
    Internal,
    InvalidArgument,
    RagError,
    ResourceExhausted,
    Unavailable,
)
from tests.rag_client import failure
from tests.unit.rag_server.interceptors.conftest import Serve, response

SECRET = "hunter2"


def raising(error: BaseException) -> Any:
    async def fail(given: Any, context: Any) -> Any:
        raise error

    return fail


def raising_late(error: BaseException) -> Any:
    async def fail(given: Any, context: Any) -> Any:
        yield response("first")
        raise error

    return fail


@pytest.mark.parametrize("kind", RagError.__subclasses__())
async def test_error_becomes_its_status_with_reason_domain_and_metadata(
    serve: Serve, kind: type[RagError]
) -> None:
    served = await serve({"unary_unary": raising(kind("A_REASON", "what to do", metadata={"limit": "3"}))})
    found = await failure(served.call("unary_unary"))
    assert found.code.name == kind.status
    assert (found.reason, found.domain, found.metadata) == ("A_REASON", "rag-server", {"limit": "3"})
    assert found.message == "what to do"
    assert found.request_id


async def test_error_with_violations_names_the_fields(serve: Serve) -> None:
    error = InvalidArgument(
        "R", "m", violations=[FieldViolation("top_k", "is 0"), FieldViolation("query", "is empty")]
    )
    served = await serve({"unary_unary": raising(error)})
    assert (await failure(served.call("unary_unary"))).violations == {"top_k": "is 0", "query": "is empty"}


@pytest.mark.parametrize(
    ("error", "delay_s"),
    [
        (Unavailable("R", "m"), 1.0),
        (ResourceExhausted("R", "m", retry_after_s=0.25), 0.25),
        (ResourceExhausted("R", "m", retry_after_s=0.0), 0.001),
        (ResourceExhausted("R", "m"), None),
    ],
)
async def test_error_says_when_to_come_back_where_that_helps(
    serve: Serve, error: RagError, delay_s: float | None
) -> None:
    served = await serve({"unary_unary": raising(error)})
    assert (await failure(served.call("unary_unary"))).retry_after_s == delay_s


async def test_error_in_the_middle_of_a_stream_ends_it_with_the_status(serve: Serve) -> None:
    served = await serve({"unary_stream": raising_late(Unavailable("SERVER_STOPPING", "m"))})
    call = served.call("unary_stream")
    assert (await call.read()).job.id == "first"
    assert (await failure(call)).reason == "SERVER_STOPPING"


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), OSError(2, SECRET), TimeoutError(SECRET), RuntimeError(SECRET)]
)
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_unknown_exception_is_internal_and_its_text_is_nowhere(
    serve: Serve, logs: list[Any], kind: str, error: Exception
) -> None:
    behaviour = raising(error) if kind == "unary_unary" else raising_late(error)
    served = await serve({kind: behaviour})
    call = served.call(kind)
    found = await failure(call)
    assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert found.request_id in found.message
    assert SECRET not in str(found)
    assert SECRET not in str(await call.trailing_metadata())
    assert SECRET not in str(logs)
    (entry,) = [each for each in logs if each["event"] == "unhandled exception"]
    assert entry["request_id"] == found.request_id
    assert entry["where"][0] == type(error).__name__
    assert entry["where"][-1].endswith(" fail")


async def test_internal_error_of_ours_is_logged_with_its_place(serve: Serve, logs: list[Any]) -> None:
    served = await serve({"unary_unary": raising(Internal("VECTOR_INVALID", "m"))})
    assert (await failure(served.call("unary_unary"))).reason == "VECTOR_INVALID"
    (entry,) = [each for each in logs if each["event"] == "internal error"]
    assert entry["reason"] == "VECTOR_INVALID"
