"""Gives each call an id that is in every log line, every error and the response's metadata."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bind_contextvars

from rag_server.interceptors.call import Call

HEADER = "x-request-id"
DURATION_HEADER = "x-duration-us"
"""Microseconds from the arrival of a call that succeeded to its end."""
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{8,64}")


class RequestId:
    """Takes the caller's `x-request-id` when it is well formed, else makes one."""

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        """Set `call.request_id`; send it, and how long the call took, with the trailing metadata.

        A call that fails sends it with its status.
        """
        given = dict(call.context.invocation_metadata() or ()).get(HEADER, "")
        if isinstance(given, bytes) or not _ACCEPTED.fullmatch(given):
            given = os.urandom(16).hex()
        call.request_id = given
        bind_contextvars(request_id=given)
        yield
        duration_us = str(round(call.elapsed_s * 1e6))
        call.context.set_trailing_metadata(((HEADER, given), (DURATION_HEADER, duration_us)))
