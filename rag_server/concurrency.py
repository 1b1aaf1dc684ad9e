"""Running coroutines side by side without leaving any behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def run_all(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results in order. When one fails the others are cancelled, awaited, and its error raised.

    `asyncio.gather` would leave the others running; a bare `TaskGroup` would wrap the error in a group. A
    single one, the usual case, is spared a task.
    """
    all_of_them = list(coroutines)
    if len(all_of_them) == 1:
        return [await all_of_them[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in all_of_them]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even when the caller is cancelled meanwhile; the cancellation is raised after it.

    For short work that must not be left half done.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # cancelled once more: it is on its way out already
                await asyncio.shield(asyncio.wait([task]))
        if not task.cancelled():
            task.exception()  # seen; the cancellation counts
        raise


async def beside(keeping: Coroutine[Any, Any, None], working: Coroutine[Any, Any, T]) -> T:
    """Return what `working` returns. If `keeping` ends first, `working` is cancelled and its error raised."""
    keeper, worker = asyncio.ensure_future(keeping), asyncio.ensure_future(working)
    try:
        await asyncio.wait([keeper, worker], return_when=asyncio.FIRST_COMPLETED)
        if not worker.done():
            worker.cancel()
            await asyncio.wait([worker])
            keeper.result()
        return worker.result()
    finally:
        tasks = [task for task in (keeper, worker) if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in (keeper, worker):
            if not task.cancelled():
                task.exception()  # seen
