"""How parsers say how far they are, without knowing whether anybody listens.

A parser of a format with pages calls `report_pages` after each page; who runs it installs a listener
with `listen`. The listener belongs to the context (PEP 567), hence to one thread or task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PageListener = Callable[[int, int], None]
"""Takes the number of pages done and of all pages."""

_listener: ContextVar[PageListener | None] = ContextVar("page_listener", default=None)


def report_pages(done: int, total: int) -> None:
    """Say that `done` of `total` pages have been read."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total)


@contextmanager
def listen(listener: PageListener) -> Iterator[None]:
    """Have `listener` told of the pages that parsers report within the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
