"""The call in progress: who, what, since when, and how it ended."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field

import grpc

from rag_server.domain.time_limit import TimeLimit

DEFAULT_TENANT = "default"
"""The tenant of every call as long as there is no authentication."""


@dataclass(slots=True)
class Call:
    """One RPC. The interceptors fill in what they find out."""

    method: str
    """Full name, `/rag.v1.RetrieveService/Retrieve`."""
    context: grpc.aio.ServicerContext[object, object]
    is_streaming: bool
    """Whether either side is a stream."""
    request_id: str = ""
    tenant_id: str = DEFAULT_TENANT
    status: str = "OK"
    """Canonical name of the status that the call ended with."""
    reason: str = ""
    start: float = field(default_factory=time.perf_counter)
    limit: TimeLimit | None = None
    """When it must have ended: the client's deadline or the server's default."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the call arrived."""
        return time.perf_counter() - self.start


current_call: ContextVar[Call] = ContextVar("current_call")
"""Each RPC runs in a task of its own, so a call never sees another's value."""
