"""One log line per call. It holds no content: no query, no text, no name of a document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from rag_server.interceptors.call import Call

log = structlog.get_logger()


class AccessLog:
    """Logs method, status, reason and duration when a call ends."""

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Log the call however it ends."""
        try:
            yield
        except asyncio.CancelledError:
            call.status = "CANCELLED"
            raise
        finally:
            duration_ms = round(call.elapsed_s * 1e3, 2)
            if call.status == "OK":
                # the response leaves first: gRPC sends it before the loop comes to this
                asyncio.get_running_loop().call_soon(_write, call, duration_ms)
            else:
                _write(call, duration_ms)


def _write(call: Call, duration_ms: float) -> None:
    write = log.error if call.status in {"INTERNAL", "UNKNOWN"} else log.info
    write(
        "call",
        method=call.method,
        tenant=call.tenant_id,
        status=call.status,
        **({"reason": call.reason} if call.reason else {}),
        duration_ms=duration_ms,
    )
