"""Gives each call an id that is in every log line, every error and the response's metadata."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from structlog.contextvars import bind_contextvars

from rag_server.interceptors.call import Call

HEADER = "x-request-id"
DURATION_HEADER = "x-duration-us"
"""Microseconds from the arrival of a call that succeeded to its end."""
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{8,64}")


class RequestId:
    """Takes the caller's `x-request-id` when it is well formed, else makes one."""

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Set `call.request_id`; send it, and how long the call took, with the trailing metadata."""
        given = dict(call.context.invocation_metadata() or ()).get(HEADER, "")
        if isinstance(given, bytes) or not _ACCEPTED.fullmatch(given):
            given = uuid.uuid4().hex
        call.request_id = given
        bind_contextvars(request_id=given)
        call.context.set_trailing_metadata(((HEADER, given),))
        yield
        duration_us = str(round(call.elapsed_s * 1e6))
        call.context.set_trailing_metadata(((HEADER, given), (DURATION_HEADER, duration_us)))
