"""The latest events of one answer, numbered, within a bounded number of bytes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from rag.v1 import generate_service_pb2 as pb
from rag_server.services.wire.resumption import to_cursor


@dataclass(frozen=True, slots=True)
class _Kept:
    event: pb.StreamGenerateResponse
    size_bytes: int
    answer_offset: int
    """Code points of the answer before the event."""


class AnswerLog:
    """Events from `first` to `last`; the numbers begin with 1."""

    def __init__(self, answer_id: str, limit_bytes: int) -> None:
        """Keep about `limit_bytes`, as `trim` does it."""
        self._answer_id = answer_id
        self._limit_bytes = limit_bytes
        self._kept: deque[_Kept] = deque()
        self._size_bytes = 0
        self._length = 0
        self.last = 0
        """Number of the latest event; 0: there is none yet."""

    @property
    def first(self) -> int:
        """Number of the oldest event that is kept; one more than `last` when there is none."""
        return self.last - len(self._kept) + 1

    @property
    def is_full(self) -> bool:
        """Whether there is as much as there may be, or one event more."""
        return self._size_bytes >= self._limit_bytes

    def add(self, event: pb.StreamGenerateResponse) -> None:
        """Take the next event, and give it its cursor."""
        self.last += 1
        event.cursor = to_cursor(self._answer_id, self.last)
        size_bytes = event.ByteSize()
        self._kept.append(_Kept(event, size_bytes, self._length))
        self._size_bytes += size_bytes
        self._length += len(event.delta.text)

    def trim(self, *, read: int | None) -> None:
        """Drop the oldest events until the others fit, but neither the latest nor those after number `read`.

        None: nobody reads, so that nothing has to wait for being read.
        """
        end = self.last if read is None else min(self.last, read + 1)
        while self._size_bytes > self._limit_bytes and self.first < end:
            self._size_bytes -= self._kept.popleft().size_bytes

    def after(self, number: int) -> tuple[int, pb.StreamGenerateResponse] | None:
        """Return the event after `number` with its number, or the gap and the number before it ends.

        None: there is no later event yet.
        """
        if number >= self.last:
            return None
        missing = self.first - 1 - number
        kept = self._kept[max(0, -missing)]
        if missing <= 0:
            return number + 1, kept.event
        gap = pb.GenerationGap(event_count=missing, answer_offset=kept.answer_offset)
        before = self.first - 1
        return before, pb.StreamGenerateResponse(gap=gap, cursor=to_cursor(self._answer_id, before))
