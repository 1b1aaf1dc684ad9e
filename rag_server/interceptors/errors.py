"""The one place where an exception becomes a status.

A `RagError` knows its status and reason. Anything else is our fault: it becomes INTERNAL with the request
id and nothing of its text, which goes to the log, by type only with its stack's code locations, since
the text of an exception may hold a secret (a database URL, say).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import grpc
import structlog
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from rag_server.errors import Internal, RagError
from rag_server.interceptors.call import Call
from rag_server.interceptors.request_id import HEADER
from rag_server.logs import where_raised

DOMAIN = "rag-server"
DETAILS_HEADER = "grpc-status-details-bin"

log = structlog.get_logger()


def to_status(error: RagError, request_id: str) -> Status:
    """Return the `google.rpc.Status` of an error: always ErrorInfo and RequestInfo, others as they apply."""
    details = [
        ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata),
        RequestInfo(request_id=request_id),
    ]
    if error.violations:
        details.append(
            BadRequest(
                field_violations=[
                    BadRequest.FieldViolation(field=each.field, description=each.description)
                    for each in error.violations
                ]
            )
        )
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(max(1, round(error.retry_after_s * 1000)))
        details.append(RetryInfo(retry_delay=delay))
    status = Status(code=grpc.StatusCode[error.status].value[0], message=error.message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


class Errors:
    """Maps what a call raises to a `RagError`, and notes its status; `abort` then ends the call with it."""

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        """Raise nothing but `RagError`; let cancellation through."""
        try:
            yield
        except RagError as error:
            if isinstance(error, Internal):
                log.error("internal error", reason=error.reason, where=where_raised(error))
            call.status, call.reason = error.status, error.reason
            raise
        except Exception as error:
            log.error("unhandled exception", where=where_raised(error))
            message = f"internal error; the server's log has it under request id {call.request_id}"
            mapped = Internal("INTERNAL", message)
            call.status, call.reason = mapped.status, mapped.reason
            raise mapped from error


async def abort(call: Call, error: RagError) -> NoReturn:
    """End the call with the status of `error`."""
    status = to_status(error, call.request_id)
    await call.context.abort(
        grpc.StatusCode[error.status],
        error.message,
        ((HEADER, call.request_id), (DETAILS_HEADER, status.SerializeToString())),
    )
