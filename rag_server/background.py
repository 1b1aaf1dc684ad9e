"""The tasks that run beside the calls: workers, sweepers, checks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from rag_server.errors import Unavailable
from rag_server.logs import where_raised

log = structlog.get_logger()

Work = Callable[[], Coroutine[Any, Any, None]]

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_SETTLED_AFTER_S = 60.0
"""A task that has run for so long has got over what ended it before."""


class Background:
    """Owns tasks that run until the server stops.

    One that ends by itself met what nobody has foreseen: it is logged, and begun again after a pause that
    doubles each time. Health says so until the task has settled.
    """

    def __init__(self, *, pause_s: float = _SHORTEST_PAUSE_S) -> None:
        self._pause_s = pause_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failed: set[str] = set()
        self._ending: set[str] = set()

    def expect_end(self, name: str) -> None:
        """Take the end of a task from now on for what it should do."""
        self._ending.add(name)

    def start(self, name: str, work: Work) -> None:
        """Run what `work` returns, which never ends, as a task."""
        self._tasks[name] = asyncio.create_task(self._keep(name, work), name=name)

    async def check(self) -> None:
        """Raise `Unavailable` (`BACKGROUND_TASK_FAILED`) while a task does not run as it should."""
        if self._failed:
            names = ", ".join(sorted(self._failed))
            raise Unavailable(
                "BACKGROUND_TASK_FAILED", f"has stopped and is begun again: {names}; see the server's log"
            )

    async def stop(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _keep(self, name: str, work: Work) -> None:
        loop = asyncio.get_running_loop()
        pause_s = self._pause_s
        while True:
            began = loop.time()
            settled = loop.call_later(_SETTLED_AFTER_S, self._failed.discard, name)
            where: list[str] = []
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the boundary: it says where, and is seen in health
                where = where_raised(error)
            finally:
                settled.cancel()
            if name in self._ending and not where:
                return
            log.error("background task ended, will be begun again", task=name, where=where, in_s=pause_s)
            self._failed.add(name)
            if loop.time() - began >= _SETTLED_AFTER_S:
                pause_s = self._pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
