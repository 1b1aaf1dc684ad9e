from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from rag_server.generation.single_flight import AHEAD, SingleFlight
from tests.faults.polling import until


class Work:
    """Counts up to an end, past a gate."""

    def __init__(self, count: int, *, gate_at: int | None = None, error: Exception | None = None) -> None:
        self.begun = 0
        self.made = 0
        self.is_closed = False
        self.gate = asyncio.Event()
        self._count = count
        self._gate_at = gate_at
        self._error = error

    async def __call__(self) -> AsyncGenerator[int, None]:
        self.begun += 1
        try:
            for number in range(self._count):
                if number == self._gate_at:
                    await self.gate.wait()
                self.made += 1
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.is_closed = True


async def read(flights: SingleFlight[int], work: Work, key: str = "key") -> tuple[list[int], bool]:
    async with flights.joined(key, work) as (flight, is_shared), aclosing(flight.read()) as events:
        return [event async for event in events], is_shared


async def test_all_who_ask_at_once_get_all_of_one_piece_of_work() -> None:
    flights, work = SingleFlight[int](), Work(5, gate_at=2)
    readers = [asyncio.create_task(read(flights, work)) for _ in range(4)]
    await until(lambda: work.made == 2)
    readers.append(asyncio.create_task(read(flights, work)))  # a late one, too
    await asyncio.sleep(0)
    work.gate.set()
    found = await asyncio.gather(*readers)
    assert [events for events, _ in found] == [[0, 1, 2, 3, 4]] * 5
    assert sorted(is_shared for _, is_shared in found) == [False, True, True, True, True]
    assert (work.begun, flights.count) == (1, 0)


async def test_other_keys_and_later_calls_are_work_of_their_own() -> None:
    flights, work = SingleFlight[int](), Work(1)
    await asyncio.gather(read(flights, work, "a"), read(flights, work, "b"))
    assert await read(flights, work, "a") == ([0], False)
    assert work.begun == 3


async def test_work_goes_on_for_the_others_when_the_first_leaves() -> None:
    flights, work = SingleFlight[int](), Work(3, gate_at=1)
    first = asyncio.create_task(read(flights, work))
    await until(lambda: work.made == 1)
    second = asyncio.create_task(read(flights, work))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert not work.is_closed
    work.gate.set()
    assert await second == ([0, 1, 2], True)


async def test_last_one_who_leaves_ends_the_work() -> None:
    flights, work = SingleFlight[int](), Work(3, gate_at=1)
    readers = [asyncio.create_task(read(flights, work)) for _ in range(3)]
    await until(lambda: work.made == 1)
    for reader in readers:
        assert not work.is_closed
        reader.cancel()
        await asyncio.wait([reader])
    assert work.is_closed
    assert flights.count == 0


async def test_error_of_the_work_reaches_everybody_after_the_events_before_it() -> None:
    flights, work = SingleFlight[int](), Work(2, gate_at=1, error=ValueError("x"))
    seen: list[int] = []

    async def note() -> None:
        async with flights.joined("key", work) as (flight, _):
            async for event in flight.read():
                seen.append(event)  # noqa: PERF401 - what came before an error counts

    readers = [asyncio.create_task(note()) for _ in range(2)]
    await until(lambda: work.made == 1)
    work.gate.set()
    failed = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(each) for each in failed] == [ValueError, ValueError]
    assert sorted(seen) == [0, 0, 1, 1]


async def test_work_waits_for_its_fastest_reader_and_for_no_other() -> None:
    flights, work = SingleFlight[int](), Work(4 * AHEAD)
    async with flights.joined("key", work) as (flight, _), flights.joined("key", work) as (same, _):
        assert flight is same
        fast, slow = flight.read(), flight.read()
        assert await anext(slow) == 0
        await until(lambda: work.made == AHEAD + 1)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert work.made == AHEAD + 1
        assert [event async for event in fast] == list(range(4 * AHEAD))
        assert [event async for event in slow] == list(range(1, 4 * AHEAD))


async def test_caller_that_is_cancelled_while_it_joins_leaves_nothing() -> None:
    flights, work = SingleFlight[int](), Work(1, gate_at=0)
    reader = asyncio.create_task(read(flights, work))
    await until(lambda: work.begun)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert (flights.count, work.is_closed) == (0, True)
