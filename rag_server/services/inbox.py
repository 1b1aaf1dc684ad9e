"""Reads the messages of IngestDocuments ahead of their answers, as far as the window goes.

The window says how much may have been sent in all, as flow control in QUIC does (RFC 9000, 4.1), so that it
means the same however many messages are under way. A client that respects it is always read at once. One that
does not is read one message further and then has to wait, by gRPC's own flow control; one that does not stop
is refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

from rag.v1 import ingest_service_pb2 as pb
from rag_server.errors import InvalidArgument, RagError, ResourceExhausted
from rag_server.interceptors.idle import idle


class Inbox:
    """At most `items_ahead + 1` items that wait, of `bytes_ahead` bytes and two items more."""

    def __init__(
        self,
        requests: AsyncIterator[pb.IngestDocumentsRequest],
        *,
        items_ahead: int,
        bytes_ahead: int,
        idle_s: float,
    ) -> None:
        self._requests = requests
        self._items_ahead = items_ahead
        self._bytes_ahead = bytes_ahead
        self._idle_s = idle_s
        self._waiting: deque[pb.IngestDocumentsItem] = deque()
        self._received = self._received_bytes = self._last_bytes = 0
        self._answered = self._answered_bytes = 0
        self._overruns = 0
        self._is_ended = False
        self._failure: RagError | None = None
        self._changed = asyncio.Condition()

    @property
    def window(self) -> pb.IngestDocumentsWindow:
        """How much the client may have sent in all, as things are now."""
        return pb.IngestDocumentsWindow(
            item_count=self._answered + self._items_ahead,
            content_bytes=self._answered_bytes + self._bytes_ahead,
        )

    async def fill(self) -> None:
        """Read until the client has ended its stream or broken a rule, which `take` then raises."""
        try:
            while (item := await self._read()) is not None:
                await self._put(item)
        except RagError as error:
            self._failure = error
        finally:
            self._is_ended = True
            await self._tell()

    async def take(self) -> pb.IngestDocumentsItem | None:
        """Wait for the next item; None: there is none after those that were taken.

        What the client did wrong is raised after the items that came before it.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._is_ended)
        if self._waiting:
            return self._waiting.popleft()
        if self._failure is not None:
            raise self._failure
        return None

    async def answered(self, item: pb.IngestDocumentsItem) -> None:
        """Open the window by what the item took."""
        self._answered += 1
        self._answered_bytes += content_bytes_of(item)
        await self._tell()

    async def refuse(self, error: RagError) -> None:
        """Have `take` raise `error` now, whatever waits: the client will send it again."""
        self._waiting.clear()
        self._failure = error
        self._is_ended = True
        await self._tell()

    async def _put(self, item: pb.IngestDocumentsItem) -> None:
        self._received += 1
        self._received_bytes += self._last_bytes
        self._last_bytes = content_bytes_of(item)
        is_over = self._is_over()
        self._overruns += is_over
        if self._overruns > self._items_ahead:
            raise ResourceExhausted(
                "WINDOW_EXCEEDED",
                f"{self._overruns} items came before the window allowed them: wait for answers",
                metadata={"limit": str(self._items_ahead)},
            )
        async with self._changed:
            if self._is_ended:  # it was refused meanwhile: the client will send it again
                return
            self._waiting.append(item)
            self._changed.notify_all()
            if is_over:
                await self._changed.wait_for(lambda: not self._is_over())

    def _is_over(self) -> bool:
        """Whether the last item came without the window's leave; `_received_bytes` are those before it."""
        window = self.window
        return self._received > window.item_count or self._received_bytes >= window.content_bytes

    async def _read(self) -> pb.IngestDocumentsItem | None:
        """Return the next item, None at the end. Raises `DeadlineExceeded` (`STREAM_IDLE`)."""
        reading = asyncio.create_task(self._next())
        try:
            while not (await asyncio.wait({reading}, timeout=self._idle_s))[0]:
                if self._answered == self._received:  # else it may be waiting for us
                    raise idle(self._idle_s, "sent nothing")
            request = reading.result()
        finally:
            if not reading.done():
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await reading
        if request is None:
            return None
        if request.WhichOneof("part") != "item":
            raise invalid_stream("only the first message can be `start`; every other one is an `item`")
        return request.item

    async def _next(self) -> pb.IngestDocumentsRequest | None:
        return await anext(self._requests, None)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def content_bytes_of(item: pb.IngestDocumentsItem) -> int:
    """Return what the item takes of the window."""
    return len(item.data) if item.WhichOneof("source") == "data" else len(item.text.encode())


def invalid_stream(description: str) -> InvalidArgument:
    """Return the error for messages that are not one start and then items."""
    return InvalidArgument.for_field("part", description, reason="INVALID_DOCUMENT_STREAM")
