from __future__ import annotations

import asyncio

import pytest

from rag_server.backends.spaced_check import SpacedCheck
from rag_server.errors import Unavailable


class Part:
    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.error: BaseException | None = None
        self.check = SpacedCheck(self.look, 60, clock=lambda: self.now)

    async def look(self) -> None:
        self.asked += 1
        if self.error:
            raise self.error


async def test_check_looks_again_only_after_a_while() -> None:
    part = Part()
    await part.check()
    part.error = Unavailable("PROVIDER_FAILED", "down")
    part.now = 59
    await part.check()
    assert part.asked == 1
    part.now = 60
    for _ in range(2):
        with pytest.raises(Unavailable):
            await part.check()
    assert part.asked == 2
    part.error, part.now = None, 120
    await part.check()
    assert part.asked == 3


async def test_check_that_is_cancelled_has_found_nothing() -> None:
    part = Part()
    part.error = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await part.check()
    part.error = None
    await part.check()
    assert part.asked == 2
