"""Has a stream begin before its reader is ready for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final, TypeVar

T = TypeVar("T")

_WAIT_S: Final = 0.001
"""Before the block begins, unless the first event is there sooner: by then the model has been asked, and what
the block writes to the caller, half a millisecond for each event, keeps nothing from it."""


@asynccontextmanager
async def head_start(events: AsyncGenerator[T, None]) -> AsyncIterator[AsyncGenerator[T, None]]:
    """Make the first of `events`, at once and while the block does something else, and give all of them.

    So a model reads its prompt while the sources are on their way to the caller. An error of the first event
    is raised where it is read. Leaving the block ends what is under way, and closes `events`.
    """
    ended = object()

    async def begin() -> T | object:
        return await anext(events, ended)

    first = asyncio.create_task(begin())

    async def told() -> AsyncGenerator[T, None]:
        event = await first
        if event is ended:
            return
        yield event  # type: ignore[misc]  # the mark of the end is no event, and was seen to
        async for following in events:
            yield following

    try:
        await asyncio.wait([first], timeout=_WAIT_S)
        async with aclosing(told()) as all_events:
            yield all_events
    finally:
        first.cancel()
        await asyncio.wait([first])
        if not first.cancelled():
            first.exception()  # seen
        await events.aclose()
