"""One log line per call. It holds no content: no query, no text, no name of a document."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import structlog

from rag_server.interceptors.call import Call

log = structlog.get_logger()

DELAY_S: Final = 0.05
"""Lines of calls that went well are written together, after so long: writing one takes as long as a cheap
call does, and the next call would wait for it."""
_MOST_WAITING: Final = 256


class AccessLog:
    """Logs method, status, reason and duration of calls; the line's time is that of the call's end."""

    def __init__(self) -> None:
        self._waiting: list[dict[str, object]] = []

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        """Log the call however it ends."""
        try:
            yield
        except asyncio.CancelledError:
            call.status = "CANCELLED"
            raise
        finally:
            line = _line(call)
            if call.status == "OK":
                self._write_later(line)
            else:
                self.flush()
                write = log.error if call.status in {"INTERNAL", "UNKNOWN"} else log.info
                write("call", **line)

    def flush(self) -> None:
        """Write what waits: before the process ends, and before a line that does not wait."""
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            log.info("call", **line)

    def _write_later(self, line: dict[str, object]) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_later(DELAY_S, self.flush)
        self._waiting.append(line)
        if len(self._waiting) >= _MOST_WAITING:
            self.flush()


def _line(call: Call) -> dict[str, object]:
    return {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "request_id": call.request_id,
        "method": call.method,
        "tenant": call.tenant_id,
        "status": call.status,
        **({"reason": call.reason} if call.reason else {}),
        "duration_ms": round(call.elapsed_s * 1e3, 2),
    }
