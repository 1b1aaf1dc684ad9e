"""What a condition over several fields of one message finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """A violation, seen from the message."""

    path: str
    """Relative to the message; empty for the message itself."""
    description: str


Check = Callable[[Any], Iterable[Finding]]


def repetitions(names: Iterable[str]) -> Iterator[int]:
    """Yield the index of each name that has stood before; the empty name is found elsewhere."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name and name in seen:
            yield index
        seen.add(name)
