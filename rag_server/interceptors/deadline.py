"""Gives every call an end: the client's deadline, or the server's default."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import DeadlineExceeded
from rag_server.interceptors.call import Call


class Deadline:
    """Cancels what is inside when the time is over; the stages see an ordinary cancellation."""

    def __init__(self, *, unary_s: float, stream_s: float) -> None:
        self._unary_s = unary_s
        self._stream_s = stream_s

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Raise `DeadlineExceeded` when the call takes longer than it may."""
        remaining = cast("float | None", call.context.time_remaining())  # the stubs know of no None
        limit = remaining if remaining is not None else self._stream_s if call.is_streaming else self._unary_s
        call.limit = TimeLimit(time.monotonic() + limit, is_callers=remaining is not None)
        timer = asyncio.timeout(limit)
        try:
            async with timer:
                yield
        except TimeoutError as error:
            if not timer.expired():  # somebody else's time-out, not the call's
                raise
            whose = "the client's" if remaining is not None else "the server's default"
            raise DeadlineExceeded(
                "DEADLINE_EXCEEDED", f"not done within {whose} deadline of {limit:.3g} s"
            ) from error
