"""Waiting for what no event tells: the state of another process or of its files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, timeout_s: float = 60.0) -> None:
    """Look again and again until `condition` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - nothing sets an event in this process
            await asyncio.sleep(0.01)
