"""Bounds on a client that keeps a stream open and does nothing with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from rag_server.errors import DeadlineExceeded

T = TypeVar("T")


def idle(limit_s: float, what: str) -> DeadlineExceeded:
    """Return the error for a client that did not do `what` for `limit_s` seconds."""
    return DeadlineExceeded(
        "STREAM_IDLE",
        f"the client {what} for {limit_s:g} s, so the stream was ended",
        metadata={"limit_s": f"{limit_s:g}"},
    )


async def lively(messages: AsyncIterator[T], limit_s: float) -> AsyncIterator[T]:
    """Yield the messages; raise `DeadlineExceeded` (`STREAM_IDLE`) when the next one takes too long to come.

    The time in which nobody asks for the next one does not count.
    """
    while True:
        timer = asyncio.timeout(limit_s)
        try:
            async with timer:
                message = await anext(messages)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if not timer.expired():  # somebody else's
                raise
            raise idle(limit_s, "sent nothing") from None
        yield message
