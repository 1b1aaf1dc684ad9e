from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

import rag_server.background
from rag_server.background import Background
from rag_server.errors import Unavailable


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    background = Background()
    yield background
    await background.stop()


async def forever() -> None:
    await asyncio.Event().wait()


async def test_background_with_running_tasks_is_healthy(background: Background) -> None:
    background.start("a", forever)
    background.start("b", forever)
    await background.check()


@pytest.mark.parametrize("is_failing", [True, False])
async def test_background_task_that_ends_is_named_by_check_and_logged_without_text(
    background: Background, is_failing: bool
) -> None:
    async def end() -> None:
        if is_failing:
            raise ValueError("hunter2")

    with capture_logs() as logs:
        background.start("sweeper", end)
        background.start("ingest", forever)
        for _ in range(3):
            await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="sweeper") as caught:
        await background.check()
    assert caught.value.reason == "BACKGROUND_TASK_FAILED"
    assert "ingest" not in caught.value.message
    assert [entry["task"] for entry in logs] == ["sweeper"]
    assert ("ValueError" in str(logs)) is is_failing
    assert "hunter2" not in str(logs)


async def test_background_stop_cancels_all_and_waits_for_their_end() -> None:
    ends: list[str] = []
    started = asyncio.Event()

    async def slow_end() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ends.append("ended")

    background = Background()
    background.start("a", slow_end)
    await started.wait()
    with capture_logs() as logs:
        await background.stop()
    assert ends == ["ended"]
    assert logs == []


async def test_background_stop_goes_on_past_a_task_that_failed(background: Background) -> None:
    async def fail() -> None:
        raise ValueError

    with capture_logs():
        background.start("a", fail)
        background.start("b", forever)
        await asyncio.sleep(0)
        await background.stop()


@pytest.fixture
async def hasty() -> AsyncIterator[Background]:
    background = Background(pause_s=0.001)
    yield background
    await background.stop()


async def test_background_task_that_failed_is_begun_again(hasty: Background) -> None:
    begun: list[int] = []
    goes_on = asyncio.Event()

    async def fail_twice() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise ValueError
        goes_on.set()
        await forever()

    with capture_logs() as logs:
        hasty.start("outbox", fail_twice)
        async with asyncio.timeout(10):
            await goes_on.wait()
    assert begun == [0, 1, 2]
    assert [entry["in_s"] for entry in logs] == [0.001, 0.002]
    with pytest.raises(Unavailable, match="outbox"):  # until it has settled
        await hasty.check()


async def test_background_task_that_has_settled_is_healthy_again(
    hasty: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rag_server.background, "_SETTLED_AFTER_S", 0.01)
    has_failed = False

    async def fail_once() -> None:
        nonlocal has_failed
        if not has_failed:
            has_failed = True
            raise ValueError
        await forever()

    with capture_logs():
        hasty.start("outbox", fail_once)
        async with asyncio.timeout(10):
            while not has_failed:  # noqa: ASYNC110 - nothing sets an event here
                await asyncio.sleep(0)
            while True:
                try:
                    await hasty.check()
                    break
                except Unavailable:
                    await asyncio.sleep(0.001)


async def test_background_task_that_is_to_end_is_left_alone(hasty: Background) -> None:
    begun: list[str] = []

    async def end() -> None:
        begun.append("begun")

    with capture_logs() as logs:
        hasty.expect_end("ingest")
        hasty.start("ingest", end)
        await asyncio.sleep(0.05)
        await hasty.check()
    assert (begun, logs) == (["begun"], [])
