from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from rag_server.generation.head_start import head_start


class Letters:
    """Yields letters, and says what has become of it."""

    def __init__(self, letters: str = "abc") -> None:
        self.letters = letters
        self.begun = asyncio.Event()
        self.is_closed = False
        self.error: Exception | None = None
        self.waits_for: asyncio.Event | None = None

    async def events(self) -> AsyncGenerator[str, None]:
        self.begun.set()
        try:
            if self.waits_for is not None:
                await self.waits_for.wait()
            if self.error is not None:
                raise self.error
            for letter in self.letters:
                yield letter
        finally:
            self.is_closed = True


async def test_stream_begins_before_it_is_read() -> None:
    letters = Letters()
    async with head_start(letters.events()) as events:
        await asyncio.wait_for(letters.begun.wait(), 10)
        assert [each async for each in events] == ["a", "b", "c"]


async def test_stream_has_begun_before_the_block() -> None:
    letters = Letters()
    letters.waits_for = asyncio.Event()
    async with head_start(letters.events()):
        assert letters.begun.is_set()


async def test_empty_stream_has_no_event() -> None:
    async with head_start(Letters("").events()) as events:
        assert [each async for each in events] == []


async def test_error_is_raised_where_the_stream_is_read() -> None:
    letters = Letters()
    letters.error = ValueError("broken")
    async with head_start(letters.events()) as events:
        await letters.begun.wait()
        with pytest.raises(ValueError, match="broken"):
            await anext(events)


async def test_error_that_nobody_reads_is_not_raised() -> None:
    letters = Letters()
    letters.error = ValueError("broken")
    async with head_start(letters.events()):
        await letters.begun.wait()
    assert letters.is_closed


@pytest.mark.parametrize("reads", [0, 1, 2])
async def test_stream_is_closed_however_much_of_it_was_read(reads: int) -> None:
    letters = Letters()
    async with head_start(letters.events()) as events:
        await letters.begun.wait()
        for _ in range(reads):
            await anext(events)
    assert letters.is_closed


async def test_caller_who_leaves_before_the_block_ends_the_stream() -> None:
    letters = Letters()
    letters.waits_for = asyncio.Event()

    async def enter() -> None:
        async with head_start(letters.events()):
            pytest.fail("the block has begun")

    task = asyncio.create_task(enter())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert letters.is_closed or not letters.begun.is_set()


async def test_first_event_is_given_up_with_the_block() -> None:
    letters = Letters()
    letters.waits_for = asyncio.Event()
    async with head_start(letters.events()):
        await letters.begun.wait()
    assert letters.is_closed


async def test_reader_that_is_cancelled_ends_the_stream() -> None:
    letters = Letters()
    letters.waits_for = asyncio.Event()

    async def read() -> None:
        async with head_start(letters.events()) as events:
            await anext(events)

    task = asyncio.create_task(read())
    await letters.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert letters.is_closed
