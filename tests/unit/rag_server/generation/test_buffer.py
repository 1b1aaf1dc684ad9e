from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from rag_server.generation.buffer import read_ahead


class Numbers:
    """Yields numbers; notes how far it came and whether it was closed."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count = count
        self.error = error
        self.given = 0
        self.is_closed = False

    async def run(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.count):
                self.given += 1
                yield number
            if self.error:
                raise self.error
        finally:
            self.is_closed = True


async def test_events_come_in_order_and_end() -> None:
    numbers = Numbers(100)
    assert [each async for each in read_ahead(numbers.run(), 3)] == list(range(100))
    assert numbers.is_closed


async def test_error_comes_after_the_events_before_it() -> None:
    events = read_ahead(Numbers(5, KeyError()).run(), 2)
    assert [await anext(events) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError):
        await anext(events)


async def test_slow_reader_holds_no_more_than_the_bound() -> None:
    numbers = Numbers(1000)
    async with aclosing(read_ahead(numbers.run(), 4)) as events:
        assert await anext(events) == 0
        for _ in range(50):
            await asyncio.sleep(0)
        assert numbers.given == 6  # one was read, four are ready, one waits for room
    assert numbers.is_closed


async def test_closing_while_an_error_waits_for_room_ends() -> None:
    numbers = Numbers(4, KeyError())
    async with aclosing(read_ahead(numbers.run(), 2)) as events:
        await anext(events)
        for _ in range(20):
            await asyncio.sleep(0)
    assert numbers.is_closed


async def test_source_that_raises_when_it_is_closed_does_not_hold_up_the_closing() -> None:
    async def stubborn() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            raise KeyError

    async with aclosing(read_ahead(stubborn(), 1)) as events:
        await anext(events)
        for _ in range(20):
            await asyncio.sleep(0)


async def test_cancelled_reader_closes_the_source() -> None:
    numbers = Numbers(1)
    begun = asyncio.Event()

    async def waiting() -> AsyncGenerator[int, None]:
        async with aclosing(numbers.run()) as events:
            async for each in events:
                yield each
                begun.set()
                await asyncio.Event().wait()

    async def read() -> None:
        async for _ in read_ahead(waiting()):
            pass

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(20):
        await asyncio.sleep(0)
    assert numbers.is_closed


async def test_events_that_are_ready_are_merged_where_they_may_be() -> None:
    def merged(first: int, second: int) -> int | None:
        return None if second == 7 else first + second

    numbers = Numbers(10, KeyError())
    events = read_ahead(numbers.run(), 20, merge=merged)
    assert [await anext(events), await anext(events)] == [0 + 1 + 2 + 3 + 4 + 5 + 6, 7 + 8 + 9]
    with pytest.raises(KeyError):
        await anext(events)
