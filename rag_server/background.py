"""The tasks that run beside the calls: workers, sweepers, checks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from rag_server.errors import Unavailable
from rag_server.logs import where_raised

log = structlog.get_logger()


class Background:
    """Owns tasks that run until the server stops. One that ends by itself has failed, and health says so."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[str] = set()

    def expect_end(self, name: str) -> None:
        """Take the end of a task from now on for what it should do."""
        self._ending.add(name)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, which never returns, as a task."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._report)
        self._tasks[name] = task

    async def check(self) -> None:
        """Raise `Unavailable` (`BACKGROUND_TASK_FAILED`) when a task has ended."""
        ended = [name for name, task in self._tasks.items() if task.done() and name not in self._ending]
        if ended:
            raise Unavailable(
                "BACKGROUND_TASK_FAILED", f"has stopped: {', '.join(ended)}; restart the server"
            )

    async def stop(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _report(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None and task.get_name() in self._ending:
            return
        where = where_raised(error) if error is not None else []
        log.error("background task ended", task=task.get_name(), where=where)
