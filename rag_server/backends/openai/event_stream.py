"""Server-sent events: the `data` of each event, from bytes that are cut anywhere (WHATWG HTML, 9.2)."""

from __future__ import annotations

MAX_EVENT_BYTES = 1024 * 1024
"""Larger than any piece of an answer."""


class EventTooLarge(Exception):
    """An event, or a line of one, has no end in sight."""


class EventStream:
    """Takes bytes and returns the data of the events that they complete.

    Names, ids and comments, by which some providers keep a connection awake, are left out.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = b""
        """The start of a line."""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of each event that ends in `piece`.

        Raises:
            EventTooLarge: An event has more than `max_event_bytes`.
        """
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        events: list[bytes] = []
        for line in lines:
            self._take(line.removesuffix(b"\r"), events)
        if self._size + len(self._rest) > self._max_event_bytes:
            raise EventTooLarge
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
            self._data, self._size = [], 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
            if self._size > self._max_event_bytes:
                raise EventTooLarge
