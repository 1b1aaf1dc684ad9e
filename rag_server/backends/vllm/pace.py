"""How often a stream is read: less often the more of them there are.

What lies behind the engine (citations, filters, gRPC, the caller) costs about as much for a piece of one
token as for one of twenty. Read token by token, 32 streams of a quick model take more of it than a core has,
and the engine, which could go on, is slowed down by its readers. vLLM joins what has come since a stream was
last read; so a little patience makes larger pieces. Even joining takes longer than it need where each token
comes by itself: vLLM puts a few together before it hands them over. The end of an answer is read at once.
"""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakValueDictionary

_PER_STREAM_S: Final = 0.006
"""All streams together are read some 170 times a second."""
_LONGEST_S: Final = 0.2
"""What who reads along hardly notices. 32 streams of 1 024 tokens take some 1.4 s of a core at this pace, and
vLLM alone 1.2 s; read every 0.1 s they took 0.4 s more, and 0.1 s more of their callers'."""
_MOST_TOGETHER: Final = 8
"""Tokens: what a stream begins with fits the engine's speed then, and stays where the engine slows down."""


def pause_s(streams: int, since_last_s: float) -> float:
    """Return how long to wait before a stream is read again, in seconds.

    Args:
        streams: How many there are.
        since_last_s: How long ago it was read.
    """
    if streams <= 1:
        return 0.0
    return max(0.0, min(_LONGEST_S, streams * _PER_STREAM_S) - since_last_s)


def tokens_together(streams: int, step_s: float | None) -> int:
    """Return how many tokens of a stream vLLM should hand over at once: not more than come in a pause.

    Args:
        streams: How many there are.
        step_s: How long the engine takes for a token of each stream; None: it is not known.
    """
    if not step_s:
        return 1
    return max(1, min(_MOST_TOGETHER, int(pause_s(streams, 0.0) / step_s)))


class PacedStream:
    """One stream that is read. For one event loop."""

    def __init__(self) -> None:
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def pause(self, seconds: float) -> None:
        """Wait before the stream is read again: so long, or until the rest of it is there."""
        if seconds > 0 and not self._end.done():
            await asyncio.wait([self._end], timeout=seconds)

    def end(self) -> None:
        """Take note that the rest is there."""
        if not self._end.done():
            self._end.set_result(None)


class PacedStreams:
    """The streams of one engine, each for as long as somebody holds it."""

    def __init__(self) -> None:
        self._streams: WeakValueDictionary[str, PacedStream] = WeakValueDictionary()

    def begin(self, stream_id: str) -> PacedStream:
        """Return a new stream."""
        stream = self._streams[stream_id] = PacedStream()
        return stream

    def end(self, stream_id: str) -> None:
        """Take note that the rest of a stream is there."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.end()
