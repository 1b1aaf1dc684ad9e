"""The answers of this server that callers can resume: as many as there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from rag.v1 import generate_service_pb2 as pb
from rag_server.errors import NotFound, RagError, Unavailable
from rag_server.services.answer_log import AnswerLog
from rag_server.services.resumable_answer import Events, ResumableAnswer
from rag_server.services.wire.resumption import (
    digest_of,
    from_cursor,
    invalid_cursor,
    new_answer_id,
    new_server_id,
    server_of,
)

_CLOSING_S: Final = 10.0
"""What answers get that are given up, to give back what they hold."""

_ELSEWHERE_S: Final = 0.1
"""After which a caller may try whether its next call reaches the server that has its answer."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ResumptionLimits:
    """How much is kept."""

    max_count: int
    """Answers at once."""
    buffer_bytes: int
    """Of each."""
    longest_s: float
    """How long one may take to be written, in seconds."""


class ResumableAnswers:
    """Keeps answers by tenant and id. For one event loop."""

    def __init__(
        self,
        limits: ResumptionLimits,
        registry: CollectorRegistry | None = None,
        *,
        has_peers: bool = False,
    ) -> None:
        """Keep none yet.

        Args:
            limits: How much is kept.
            registry: Where they are counted.
            has_peers: Whether callers of this server may be those of other servers, too.
        """
        self._limits = limits
        self._has_peers = has_peers
        self._server_id = new_server_id()
        self._answers: dict[tuple[str, str], ResumableAnswer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        gauge = Gauge(
            "rag_answers_resumable",
            "Answers that can be resumed, by whether a call reads them.",
            ["is_read"],
            registry=registry or CollectorRegistry(),
        )
        gauge.labels("true").set_function(lambda: self._count(is_read=True))
        gauge.labels("false").set_function(lambda: self._count(is_read=False))

    @property
    def count(self) -> int:
        """Answers that are kept."""
        return len(self._answers)

    def begin(
        self, tenant_id: str, request: pb.StreamGenerateRequest, answer: Callable[[], Events]
    ) -> Events:
        """Return the events of `answer`, which goes on when they are not read on.

        Where there are too many already they are those of `answer` itself, and have no cursor.
        """
        if self._is_stopping or not self._make_room():
            return answer()
        answer_id = new_answer_id(self._server_id)
        key = (tenant_id, answer_id)
        kept = ResumableAnswer(
            answer(),
            AnswerLog(answer_id, self._limits.buffer_bytes),
            request_digest=digest_of(request),
            window_s=request.resume_window_ms / 1000,
            longest_s=self._limits.longest_s,
            forget=lambda: self._answers.pop(key, None),
        )
        self._answers[key] = kept
        self._tasks.add(kept.task)
        kept.task.add_done_callback(self._tasks.discard)
        return kept.read()

    def resume(self, tenant_id: str, request: pb.StreamGenerateRequest) -> Events:
        """Return the events after the request's cursor.

        Raises:
            NotFound: `STREAM_NOT_RESUMABLE`, the tenant has no such answer, or has none any more.
            Unavailable: `STREAM_ELSEWHERE`, it is, or was, an answer of another server.
            InvalidArgument: `INVALID_RESUME_CURSOR`, it is no cursor of an answer to this request.
        """
        answer_id, number = from_cursor(request.resume_cursor)
        kept = self._answers.get((tenant_id, answer_id))
        if kept is None:
            raise self._absent(answer_id)
        if kept.request_digest != digest_of(request):
            raise invalid_cursor()
        return kept.read(number, window_s=request.resume_window_ms / 1000)

    def stop(self) -> None:
        """Give up what nobody reads, from now on: nobody can come back to a server that stops."""
        self._is_stopping = True
        for kept in list(self._answers.values()):
            kept.stop()

    async def close(self) -> None:
        """Give up everything, and wait until nothing of it runs."""
        self._is_stopping = True
        for kept in list(self._answers.values()):
            kept.end()
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=_CLOSING_S)
            if left:
                log.warning("answers that were given up still run", count=len(left))

    def _absent(self, answer_id: str) -> RagError:
        """Return the error for an answer that is not here."""
        if self._has_peers and server_of(answer_id) not in {"", self._server_id}:
            return Unavailable(
                "STREAM_ELSEWHERE",
                "another server has the answer, or had it: call again to reach it, or ask without a cursor",
                retry_after_s=_ELSEWHERE_S,
            )
        return NotFound("STREAM_NOT_RESUMABLE", "the answer is not kept any longer: ask without a cursor")

    def _make_room(self) -> bool:
        """Return whether one more may be kept, perhaps in place of one that is written and not read."""
        if len(self._answers) >= self._limits.max_count:
            waiting = (each for each in self._answers.values() if each.is_written and not each.is_read)
            oldest = next(waiting, None)
            if oldest is None:
                return False
            oldest.end()
        return True

    def _count(self, *, is_read: bool) -> int:
        return sum(each.is_read == is_read for each in tuple(self._answers.values()))
