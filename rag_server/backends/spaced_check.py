"""Asks a part that is far away how it fares less often than the parts at hand are asked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from rag_server.errors import RagError


class SpacedCheck:
    """A health check that repeats what it found for a while before it looks again.

    A check that is cancelled, since it took too long, has found nothing: the next one looks again.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[None]],
        interval_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check = check
        self._interval_s = interval_s
        self._clock = clock
        self._next = float("-inf")
        self._found: RagError | None = None

    async def __call__(self) -> None:
        """Raise the `RagError` of a part that does not work."""
        if self._clock() >= self._next:
            try:
                await self._check()
            except RagError as error:
                self._found = error
            else:
                self._found = None
            self._next = self._clock() + self._interval_s
        if self._found is not None:
            raise self._found
