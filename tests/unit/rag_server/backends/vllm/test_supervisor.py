from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from rag_server.backends.vllm.supervisor import LOOK_S, RestartLimits, Supervisor
from rag_server.errors import FailedPrecondition, Unavailable

START_S = 20.0


class Scene:
    """Time, and an engine in it that dies when a test says so."""

    name = "tiny"

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        """How long was waited before each start."""
        self.expected: list[float | None] = []
        """When the engine was said to be back."""
        self.starts = 0
        self.failing_starts = 0
        """How many of the next starts fail."""
        self.is_alive = True
        self.lives_s = float("inf")
        """How long the engine lives after each start."""
        self.starting = asyncio.Event()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.given_up = asyncio.Event()
        self.waited = asyncio.Event()
        """A start is due."""
        self.rested = asyncio.Event()
        """The engine was looked at and is well."""
        self._dies_at = float("inf")

    def check(self) -> None:
        if not self.is_alive or self.now >= self._dies_at:
            self.is_alive = False
            raise Unavailable("VLLM_ENGINE_DEAD", "dead")

    def expect_back(self, in_s: float | None) -> None:
        self.expected.append(in_s)
        if in_s is None:
            self.given_up.set()

    async def restart(self) -> None:
        self.starts += 1
        self.starting.set()
        await self.may_start.wait()
        self.now += START_S
        if self.failing_starts:
            self.failing_starts -= 1
            raise FailedPrecondition("VLLM_NOT_STARTED", "no memory")
        self.is_alive = True
        self._dies_at = self.now + self.lives_s

    async def pause(self, seconds: float) -> None:
        self.now += seconds
        if seconds == LOOK_S and self.is_alive:
            self.rested.set()
        else:
            self.waits.append(seconds)
            self.waited.set()
        await asyncio.sleep(0)


Watch = Callable[..., Scene]


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    """Return a function that has an engine watched, and returns it."""
    async with AsyncExitStack() as stack:

        def begin(
            *, attempts: int = 3, proven_after_s: float = 600.0, turn: asyncio.Lock | None = None
        ) -> Scene:
            scene = Scene()
            supervisor = Supervisor(
                scene,
                RestartLimits(attempts, proven_after_s),
                turn or asyncio.Lock(),
                clock=lambda: scene.now,
                pause=scene.pause,
            )
            task = asyncio.create_task(supervisor.run())

            async def stop() -> None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

            stack.push_async_callback(stop)
            return scene

        yield begin


async def well(scene: Scene) -> None:
    """Wait until the engine is well, as far as the supervisor can see."""
    scene.rested.clear()
    await scene.rested.wait()


async def test_engine_that_lives_is_left_alone(watch: Watch) -> None:
    scene = watch()
    await well(scene)
    await well(scene)
    assert (scene.starts, scene.expected) == (0, [])


async def test_engine_that_has_died_is_started_again_and_callers_are_told_when_it_is_back(
    watch: Watch,
) -> None:
    scene = watch()
    await well(scene)
    scene.is_alive = False
    await well(scene)
    assert (scene.starts, scene.waits) == (1, [1.0])
    assert scene.expected == [61.0], "nothing is known yet of how long a start takes"

    scene.is_alive = False
    await well(scene)
    assert (scene.starts, scene.waits) == (2, [1.0, 2.0])
    assert scene.expected[1:] == [2.0 + START_S]


async def test_start_that_fails_is_tried_again_after_a_longer_pause(watch: Watch) -> None:
    scene = watch(attempts=4)
    scene.failing_starts = 3
    scene.is_alive = False
    await well(scene)
    assert (scene.starts, scene.waits) == (4, [1.0, 2.0, 4.0, 8.0])
    assert not scene.given_up.is_set()


@pytest.mark.parametrize("attempts", [0, 1, 3])
async def test_engine_whose_starts_all_fail_is_given_up(watch: Watch, attempts: int) -> None:
    scene = watch(attempts=attempts)
    scene.failing_starts = 100
    scene.is_alive = False
    await scene.given_up.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert (scene.starts, scene.expected[-1]) == (attempts, None)


async def test_engine_that_dies_soon_after_each_start_is_given_up(watch: Watch) -> None:
    scene = watch(attempts=3)
    scene.lives_s = 599.0
    scene.is_alive = False
    await scene.given_up.wait()
    assert (scene.starts, scene.waits) == (3, [1.0, 2.0, 4.0])


async def test_engine_that_has_lived_long_gets_all_its_attempts_anew(watch: Watch) -> None:
    scene = watch(attempts=2)
    for _ in range(5):
        scene.is_alive = False
        await well(scene)
        scene.now += 600.0
    assert scene.starts == 5
    assert set(scene.waits) == {1.0}
    assert not scene.given_up.is_set()


async def test_pauses_have_a_longest(watch: Watch) -> None:
    scene = watch(attempts=12)
    scene.failing_starts = 100
    scene.is_alive = False
    await scene.given_up.wait()
    assert scene.waits[-3:] == [300.0] * 3


async def test_engines_are_started_one_after_the_other(watch: Watch) -> None:
    turn = asyncio.Lock()
    first, second = watch(turn=turn), watch(turn=turn)
    first.may_start.clear()
    first.is_alive = False
    await first.starting.wait()
    second.is_alive = False
    await second.waited.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert second.starts == 0
    first.may_start.set()
    await second.starting.wait()
    await well(second)
    assert (first.starts, second.starts) == (1, 1)
