"""Failpoints: places where a process can be told to die, so that tests see what is left of it.

`RAG_FAILPOINT=publish.after:2` ends the process with SIGKILL when it comes to `publish.after` for the second
time. Without the variable a failpoint costs one comparison. It is read once, at the start.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "RAG_FAILPOINT"


def parse(value: str) -> tuple[str, int]:
    """Return name and number of `NAME` or `NAME:NUMBER`. Raises `ValueError`."""
    name, _, number = value.partition(":")
    return name, int(number or 1)


_NAME, _NUMBER = parse(os.environ.get(VARIABLE, ""))
_seen = 0


def failpoint(name: str) -> None:
    """Die here, if this is the place and the time."""
    global _seen  # noqa: PLW0603 - a count of this process, as the place is one of this process
    if name != _NAME:
        return
    _seen += 1
    if _seen == _NUMBER:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Have a failpoint before and after a step: `NAME.before`, `NAME.after`."""
    failpoint(f"{name}.before")
    yield
    failpoint(f"{name}.after")
