"""The W3C trace context that a caller sends along, for the messages that its jobs become."""

from __future__ import annotations

import re
from typing import Any

_TRACE_PARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_parent_of(context: Any) -> str:
    """Return the `traceparent` of a call; empty when it sent none, or something else."""
    sent = dict(context.invocation_metadata() or ()).get("traceparent", "")
    return sent if isinstance(sent, str) and _TRACE_PARENT.fullmatch(sent) else ""
