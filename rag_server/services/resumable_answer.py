"""An answer that outlives the call that reads it, for a while.

It is written by a task of its own into a bounded log. A reader that is slow holds the task up. Without a
reader the task goes on, and the oldest events make room; when nobody has come back within the window, it is
cancelled: at the model's provider, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from rag.v1 import generate_service_pb2 as pb
from rag_server.errors import Aborted, DeadlineExceeded, Unavailable
from rag_server.services.answer_log import AnswerLog
from rag_server.services.wire.resumption import invalid_cursor

Events = AsyncGenerator[pb.StreamGenerateResponse, None]


class _Reader:
    """A call that reads."""

    def __init__(self, number: int) -> None:
        self.number = number
        """Of the last event that it was given."""


class ResumableAnswer:
    """One answer, from its first event until it is forgotten."""

    def __init__(
        self,
        events: Events,
        log: AnswerLog,
        *,
        request_digest: bytes,
        window_s: float,
        longest_s: float,
        forget: Callable[[], object],
    ) -> None:
        """Begin to write `events` into `log`.

        Args:
            events: The answer.
            log: Empty.
            request_digest: What `digest_of` makes of the request.
            window_s: How long the answer is kept when nobody reads it, in seconds.
            longest_s: How long it may take to be written, in seconds.
            forget: Called once, when it cannot be resumed any more.
        """
        self.request_digest = request_digest
        self._log = log
        self._window_s = window_s
        self._longest_s = longest_s
        self._forget = forget
        self._reader: _Reader | None = None
        self._has_been_read = False
        self._is_stopping = False
        self._is_over = False
        self._changed = asyncio.Event()
        self._timer = asyncio.get_running_loop().call_later(window_s, self.end)
        self.task = asyncio.create_task(self._write(events))
        """What writes it."""
        self.task.add_done_callback(self._written)

    @property
    def is_read(self) -> bool:
        """Whether a call reads it now."""
        return self._reader is not None

    @property
    def is_written(self) -> bool:
        """Whether it has come to its end, or broken."""
        return self.task.done()

    async def read(self, after: int = 0, *, window_s: float | None = None) -> Events:
        """Yield the events after number `after`, and raise the error that they end with.

        The reader before it gets `Aborted` (`STREAM_TAKEN_OVER`). From now on the window is `window_s`, where
        it is given.

        Raises:
            InvalidArgument: `INVALID_RESUME_CURSOR`, there has never been such an event.
            Unavailable: `SERVER_STOPPING`, the answer was given up.
        """
        if after > self._log.last:
            raise invalid_cursor()
        self._timer.cancel()
        self._window_s = self._window_s if window_s is None else window_s
        reader = self._reader = _Reader(after)
        self._wake()
        try:
            while True:
                if self._reader is not reader:
                    raise Aborted("STREAM_TAKEN_OVER", "another call reads this answer on")
                changed = self._changed
                found = self._log.after(reader.number)
                if found is not None:
                    reader.number, event = found
                    self._has_been_read = True
                    self._wake()
                    yield event
                elif not self.task.done():
                    await changed.wait()
                elif self.task.cancelled():
                    raise Unavailable("SERVER_STOPPING", "the server is stopping: ask again")
                else:
                    self.task.result()
                    return
        finally:
            if self._reader is reader:
                self._leave()

    def stop(self) -> None:
        """Go on only as long as a call reads it."""
        self._is_stopping = True
        if not self.is_read:
            self.end()

    def end(self) -> None:
        """Stop writing, and forget it. Whoever reads is told that the server stops."""
        self._timer.cancel()
        self._is_stopping = True
        if not self._is_over:
            self._is_over = True
            self._forget()
        self.task.cancel()

    def _leave(self) -> None:
        """Keep the answer for its window, now that nobody reads it."""
        self._reader = None
        self._wake()
        if self._is_stopping or not self._has_been_read:  # or nobody has a cursor to come back with
            self.end()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._window_s, self.end)

    async def _write(self, events: Events) -> None:
        timer = asyncio.timeout(self._longest_s)
        try:
            async with timer, aclosing(events):
                async for event in events:
                    self._log.add(event)
                    self._wake()
                    await self._room()
        except TimeoutError as error:
            if not timer.expired():  # somebody else's
                raise
            raise DeadlineExceeded(
                "DEADLINE_EXCEEDED", f"not done within the server's limit of {self._longest_s:.3g} s"
            ) from error

    async def _room(self) -> None:
        """Drop what there is no room for; wait while that is what the reader has yet to read."""
        while True:
            reader, changed = self._reader, self._changed
            self._log.trim(read=None if reader is None else reader.number)
            if reader is None or not self._log.is_full or reader.number >= self._log.last:
                return
            await changed.wait()

    def _written(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # seen; every reader is told
        self._wake()

    def _wake(self) -> None:
        """Have everybody who waits look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
