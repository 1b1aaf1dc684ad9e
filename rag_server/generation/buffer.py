"""Reads ahead of a slow reader, by a bounded number of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, TypeVar

T = TypeVar("T")

SIZE: Final = 256
"""Events, most of them a token long: a model is done sooner than its reader, by this much at most."""


class _End:
    """Stands for the end of the events, and for the error that they end with."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


async def read_ahead(
    events: AsyncGenerator[T, None],
    size: int = SIZE,
    *,
    merge: Callable[[T, T], T | None] | None = None,
) -> AsyncGenerator[T, None]:
    """Yield `events`, while a task keeps up to `size` of them ready.

    An error comes after the events before it. Closing it, or cancelling its reader, ends the task and
    closes `events` before it returns. `merge` makes one event of two that are both ready, or None where they
    have to stay apart: who is late has less to do for what is missing.
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
    following: T | _End | None = None
    try:
        while True:
            event = following if following is not None else await ready.get()
            following = None
            if isinstance(event, _End):
                if event.error is not None:
                    raise event.error
                return
            while merge is not None and not ready.empty():
                following = ready.get_nowait()
                merged = None if isinstance(following, _End) else merge(event, following)
                if merged is None:
                    break
                event, following = merged, None
            yield event
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen
