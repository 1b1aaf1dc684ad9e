"""Instants and durations for people."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from google.protobuf.message import Message

from rag.v1.timings_pb2 import Timings


def shown_time(message: Message, field: str) -> str:
    """Return the timestamp in a field as local time to the second; empty when it is absent."""
    if not message.HasField(field):
        return ""
    timestamp: Any = getattr(message, field)
    return str(timestamp.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S"))


def shown_duration(microseconds: int) -> str:
    """Return a duration in milliseconds."""
    return f"{microseconds / 1000:.1f} ms"


def shown_timings(timings: Timings) -> str:
    """Return where the server's time went: `12.3 ms (embed 3.0 ms, dense 5.1 ms)`."""
    stages = ", ".join(f"{each.stage} {shown_duration(each.duration_us)}" for each in timings.stages)
    total = shown_duration(timings.total_us)
    return f"{total} ({stages})" if stages else total
