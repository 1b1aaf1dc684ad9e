from __future__ import annotations

import asyncio

import pytest

from rag_server.concurrency import beside, finish, run_all


async def value_of(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def test_run_all_returns_results_in_order() -> None:
    later = asyncio.Event()

    async def first() -> int:
        await later.wait()
        return 1

    async def second() -> int:
        later.set()
        return 2

    assert await run_all([first(), second()]) == [1, 2]


async def test_run_all_of_nothing_is_nothing() -> None:
    assert await run_all(value_of(each) for each in range(0)) == []


async def test_run_all_failure_cancels_and_awaits_the_others_and_is_raised_bare() -> None:
    ends: list[str] = []
    started = asyncio.Event()

    async def hang() -> int:
        try:
            started.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ends.append("cancelled")
            raise
        return 0

    async def fail() -> int:
        await started.wait()
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        await run_all([hang(), fail()])
    assert ends == ["cancelled"]


async def test_run_all_nested_failure_is_raised_bare() -> None:
    async def fail() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await run_all([run_all([fail(), value_of(1)]), run_all([value_of(2)])])


async def test_run_all_cancelled_from_outside_cancels_all() -> None:
    started = asyncio.Event()
    ends: list[int] = []

    async def hang(number: int) -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            ends.append(number)

    task = asyncio.create_task(run_all([hang(1), hang(2)]))
    await started.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ends) == [1, 2]


async def test_finish_runs_to_the_end_though_the_caller_is_cancelled() -> None:
    entered, leave = asyncio.Event(), asyncio.Event()
    done = []

    async def work() -> None:
        entered.set()
        await leave.wait()
        done.append(1)

    task = asyncio.create_task(finish(work()))
    await entered.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # impatient
    await asyncio.sleep(0)
    assert not task.done()
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]


async def test_finish_passes_on_result_and_error() -> None:
    async def one() -> int:
        return 1

    async def broken() -> int:
        raise KeyError

    assert await finish(one()) == 1
    with pytest.raises(KeyError):
        await finish(broken())


async def test_beside_returns_what_the_work_returns_and_ends_the_other() -> None:
    ends: list[str] = []

    async def keep() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("kept")

    assert await beside(keep(), value_of(3)) == 3
    assert ends == ["kept"]


async def test_beside_whose_other_fails_first_cancels_the_work_and_raises_that() -> None:
    ends: list[str] = []
    started = asyncio.Event()

    async def keep() -> None:
        await started.wait()
        raise KeyError("lost")

    async def work() -> int:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            ends.append("worked")
        return 0

    with pytest.raises(KeyError, match="lost"):
        await beside(keep(), work())
    assert ends == ["worked"]
