"""Reads ahead of a slow reader, by a bounded number of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeVar

T = TypeVar("T")

SIZE: Final = 256
"""Events, most of them a token long: a model is done sooner than its reader, by this much at most."""


class _End:
    """Stands for the end of the events, and for the error that they end with."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


async def read_ahead(events: AsyncGenerator[T, None], size: int = SIZE) -> AsyncGenerator[T, None]:
    """Yield `events`, while a task keeps up to `size` of them ready.

    An error comes after the events before it. Closing it, or cancelling its reader, ends the task and
    closes `events` before it returns.
    """
    ready: asyncio.Queue[T | _End] = asyncio.Queue(size)

    async def read() -> None:
        error: BaseException | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    await ready.put(event)
        except Exception as raised:
            if task.cancelling():  # nobody reads any longer, and nobody would make room
                raise
            error = raised
        await ready.put(_End(error))

    task = asyncio.create_task(read())
    try:
        while True:
            event = await ready.get()
            if isinstance(event, _End):
                if event.error is not None:
                    raise event.error
                return
            yield event
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen
