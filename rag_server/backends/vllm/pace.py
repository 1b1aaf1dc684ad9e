"""How often a stream is read: less often the more of them there are.

What lies behind the engine (citations, filters, gRPC, the caller) costs about as much for a piece of one
token as for one of twenty. Read token by token, 32 streams of a quick model take more of it than a core has,
and the engine, which could go on, is slowed down by its readers. vLLM joins what has come since a stream was
last read; so a little patience makes larger pieces, and no answer later than by that.
"""

from __future__ import annotations

from typing import Final

_PER_STREAM_S: Final = 0.003
"""All streams together are read some 330 times a second, which takes a quarter of a core."""
_LONGEST_S: Final = 0.1
"""What nobody who reads along would notice."""


def pause_s(streams: int, since_last_s: float) -> float:
    """Return how long to wait before a stream is read again, in seconds.

    Args:
        streams: How many there are.
        since_last_s: How long ago it was read.
    """
    if streams <= 1:
        return 0.0
    return max(0.0, min(_LONGEST_S, streams * _PER_STREAM_S) - since_last_s)
