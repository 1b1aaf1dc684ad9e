"""The windows that wait for a model, in the order in which they are to be run."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rag_server.backends.onnx.micro_batch import choose_run
from rag_server.backends.onnx.session import Stop
from rag_server.domain.priority import Priority

Output = npt.NDArray[np.float32]
"""What the model gives for one window, of any shape."""

Outputs = Sequence[Output] | Output
"""One per window; of an array, its rows."""

T = TypeVar("T")

_LOOKAROUND = 256
"""Windows on each side of the most urgent one that a run is chosen among."""


class Run(Protocol):
    """One run of the model, on windows."""

    def __call__(self, windows: list[Any], stop: Stop, /, *, is_shared: bool = False) -> Outputs:
        """Return an output for each window; `is_shared`: they are of several calls."""
        ...


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """What a caller wants of the model."""

    run: Run
    """Windows share a run with those of other calls that name the same one."""
    windows: Sequence[Sized]
    """At least one; of as many tokens as its length."""
    keep: Callable[[Output], Output]
    """Called with the output of each window, which may be part of a larger array: what to keep of it."""
    combine: Callable[[list[Output]], T]
    """What was kept, in the order of `windows` -> the result. Both are called by the worker's thread."""
    priority: Priority
    is_patient: bool = False
    """Lets other jobs of its priority go first."""

    @property
    def token_count(self) -> int:
        """Tokens of all windows, without padding."""
        return sum(map(len, self.windows))


@dataclass(eq=False, slots=True)
class Call(Generic[T]):
    """One job on its way. Owned by the worker, except for `future`, which is its event loop's."""

    job: Job[T]
    sequence: int
    """Order of submission."""
    future: asyncio.Future[T]
    outputs: list[Output | None]
    missing: int
    """Windows without an output yet."""
    is_alone: bool = False
    """Shares no run: one that it had a part in has failed."""


Row = tuple[int, int, int, Call[Any]]
"""Minus the tokens of a window, its call's sequence, its index, its call."""

_ORDER = itemgetter(0, 1, 2)
"""Longest windows first, then those of the oldest call."""

_LaneKey = tuple[Priority, bool, int, Run]
"""Priority, whether patient, the sequence of a call that is alone (else -1), and the run."""


class WaitingRows:
    """Lanes of windows that may share a run. Not thread-safe."""

    def __init__(self) -> None:
        self._lanes: dict[_LaneKey, list[Row]] = {}

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def add(self, call: Call[Any], indices: Sequence[int]) -> None:
        """Queue the windows of `call` at `indices`."""
        lane = self._lanes.setdefault(_key(call), [])
        rows = [(-len(call.job.windows[index]), call.sequence, index, call) for index in indices]
        if len(rows) == 1:
            insort(lane, rows[0], key=_ORDER)
        else:
            lane.extend(rows)
            lane.sort(key=_ORDER)

    def remove(self, call: Call[Any]) -> None:
        """Take out what is left of `call`."""
        key = _key(call)
        if rows := [row for row in self._lanes.pop(key, ()) if row[3] is not call]:
            self._lanes[key] = rows

    def clear(self) -> None:
        """Take out everything."""
        self._lanes.clear()

    def take(self, batch_tokens: int) -> list[Row]:
        """Take the rows of the next run: of the most urgent lane, the longest window of its oldest call,
        and what best shares a run with it. Call when there are any.
        """  # noqa: D205 (one sentence)
        key = min(self._lanes, key=self._urgency)
        lane = self._lanes[key]
        oldest = min(row[1] for row in lane)
        anchor = next(index for index, row in enumerate(lane) if row[1] == oldest)
        first = max(anchor - _LOOKAROUND, 0)
        lengths = [-row[0] for row in lane[first : anchor + _LOOKAROUND]]
        chosen = choose_run(lengths, anchor - first, batch_tokens=batch_tokens)
        span = slice(first + chosen.start, first + chosen.stop)
        rows = lane[span]
        del lane[span]
        if not lane:
            del self._lanes[key]
        return rows

    def _urgency(self, key: _LaneKey) -> tuple[Priority, bool, int]:
        return key[0], key[1], min(row[1] for row in self._lanes[key])


def _key(call: Call[Any]) -> _LaneKey:
    job = call.job
    return job.priority, job.is_patient, call.sequence if call.is_alone else -1, job.run
