"""Rows of one run cut into shares, one per thread, that are computed side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


class Shares:
    """The threads beside the caller's own; they start when they are first needed."""

    def __init__(self, thread_count: int) -> None:
        """Cut into `thread_count` shares at most."""
        self._thread_count = thread_count
        self._others = ThreadPoolExecutor(max(1, thread_count - 1), thread_name_prefix="model-share")

    def parts(self, row_count: int) -> list[slice]:
        """Return consecutive parts of `row_count` rows, of one size give or take a row; of none, one."""
        count = max(1, min(row_count, self._thread_count))
        return [slice(row_count * i // count, row_count * (i + 1) // count) for i in range(count)]

    def map(self, work: Callable[[slice], T], parts: Sequence[slice]) -> list[T]:
        """Return what `work` makes of each part, in order.

        Waits for all of them even where one fails; raises what the first to fail, in order, has raised.
        """
        others = [self._others.submit(work, part) for part in parts[1:]]
        try:
            own = work(parts[0])
        finally:
            wait(others)
        return [own, *(each.result() for each in others)]
