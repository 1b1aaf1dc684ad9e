from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rag_server.errors import DeadlineExceeded
from rag_server.interceptors.idle import lively


async def counted(count: int, *, then_silent: bool = False) -> AsyncIterator[int]:
    for number in range(count):
        yield number
    if then_silent:
        await asyncio.Event().wait()


async def test_messages_pass_through_to_their_end() -> None:
    assert [each async for each in lively(counted(3), 60.0)] == [0, 1, 2]


async def test_silence_ends_the_stream_with_a_reason() -> None:
    messages = lively(counted(1, then_silent=True), 0.02)
    assert await anext(messages) == 0
    with pytest.raises(DeadlineExceeded) as caught:
        await anext(messages)
    assert (caught.value.reason, caught.value.metadata) == ("STREAM_IDLE", {"limit_s": "0.02"})


async def test_time_in_which_nobody_asks_does_not_count() -> None:
    messages = lively(counted(2), 0.02)
    assert await anext(messages) == 0
    await asyncio.sleep(0.1)
    assert await anext(messages) == 1


async def test_timeout_of_somebody_else_is_left_alone() -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise TimeoutError

    messages = lively(failing(), 60.0)
    assert await anext(messages) == 1
    with pytest.raises(TimeoutError):
        await anext(messages)


async def test_cancellation_passes_through() -> None:
    async def wait() -> None:
        await anext(lively(counted(0, then_silent=True), 60.0))

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
