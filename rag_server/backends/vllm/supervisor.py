"""Starts an engine again that has died, with a pause that doubles, and gives up on one that keeps dying."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

import structlog

from rag_server.errors import RagError

log = structlog.get_logger()

LOOK_S: Final = 1.0
"""Between two looks at whether the engine lives: it costs a look at an attribute."""
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 300.0
_START_S: Final = 60.0
"""What a start is taken to need before one has been measured."""


class Restartable(Protocol):
    """What the supervisor must know of an engine."""

    name: str

    def check(self) -> None:
        """Raise a `RagError` unless the engine lives."""
        ...

    def expect_back(self, in_s: float | None) -> None:
        """Tell callers when it should be back, in seconds; None: never."""
        ...

    async def restart(self) -> None:
        """Start it again. Raises `RagError`."""
        ...


@dataclass(frozen=True, slots=True)
class RestartLimits:
    """When an engine is given up."""

    attempts: int = 3
    """Starts in a row; 0: it is never started again."""
    proven_after_s: float = 600.0
    """An engine that has lived so long did not die of its start: the count begins anew."""


class Supervisor:
    """Watches one engine.

    What killed an engine (memory, most often) may do so again: the attempts are few, and the pauses grow. An
    engine that is given up stays dead until the server is started again; the log and health say so.
    """

    def __init__(
        self,
        engine: Restartable,
        limits: RestartLimits,
        turn: asyncio.Lock,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Watch `engine`, which runs.

        Args:
            engine: What is watched.
            limits: When to give up.
            turn: Held for each start: engines look at the memory that is free when they start, and are told
                some of their options by the environment of the process.
            clock: Seconds, from any moment.
            pause: Waits for so many seconds.
        """
        self._engine = engine
        self._limits = limits
        self._turn = turn
        self._clock = clock
        self._pause = pause
        self._start_s = _START_S
        self._attempts = 0
        """In a row."""

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            began = self._clock()
            while self._lives():
                await self._pause(LOOK_S)
            if self._clock() - began >= self._limits.proven_after_s:
                self._attempts = 0
            if not await self._revived():
                self._engine.expect_back(None)
                log.error("vLLM is given up", model=self._engine.name, attempts=self._attempts)
                await asyncio.Event().wait()

    def _lives(self) -> bool:
        try:
            self._engine.check()
        except RagError:
            return False
        return True

    async def _revived(self) -> bool:
        """Return whether the engine runs again."""
        while self._attempts < self._limits.attempts:
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**self._attempts)
            self._attempts += 1
            self._engine.expect_back(wait_s + self._start_s)
            log.warning("vLLM has died", model=self._engine.name, attempt=self._attempts, restart_in_s=wait_s)
            await self._pause(wait_s)
            began = self._clock()
            try:
                async with self._turn:
                    began = self._clock()
                    await self._engine.restart()
            except RagError as error:
                log.warning("vLLM stays dead", model=self._engine.name, reason=error.reason)
            else:
                self._start_s = self._clock() - began
                log.info("vLLM is back", model=self._engine.name, took_s=round(self._start_s, 1))
                return True
        return False
