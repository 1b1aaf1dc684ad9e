"""The one thread that runs the model, and the bounded queue before it.

A call is cut into batches when it is submitted; between two batches the thread takes the most urgent
one, so an interactive query waits for one batch at most, however much bulk work is queued. A batch
holds rows, each with the call it serves: rows of several calls may share a batch, which is why a
running batch is stopped only when every call it serves was abandoned.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import structlog

from rag_server.backends.onnx.batching import Window, WindowPlan, merge, pack
from rag_server.backends.onnx.session import RunFailed, RunStopped, Stop
from rag_server.backends.onnx.source import REASON
from rag_server.backends.protocols import Embeddings, Priority
from rag_server.errors import Internal, RagError, ResourceExhausted, Unavailable
from rag_server.logs import where_raised

_logger = structlog.get_logger(__name__)

_MIN_RETRY_S = 0.1
_RATE_SMOOTHING = 0.2
_INITIAL_SECONDS_PER_TOKEN = 1.5e-4


class Session(Protocol):
    """What the worker needs of `rag_server.backends.onnx.session.EmbeddingSession`."""

    def run(self, windows: list[Window], stop: Stop) -> Embeddings: ...


@dataclass(eq=False, slots=True)
class Call:
    """One `embed` on its way: `future` gets `(texts, d)` or an error, unless the call is abandoned."""

    plan: WindowPlan
    priority: Priority
    vectors: Embeddings
    missing: int
    """Windows without a vector yet."""
    future: Future[Embeddings] = field(default_factory=Future)


@dataclass(order=True, slots=True)
class _Batch:
    priority: Priority
    sequence: int
    rows: list[tuple[Call, int]] = field(compare=False)
    """The call and the index of its window."""


class EmbeddingWorker:
    """Owns a session and its thread, from construction to `close`. Thread-safe."""

    def __init__(self, session: Session, *, dimension: int, batch_tokens: int, call_limit: int) -> None:
        """Start the thread.

        Args:
            session: Run from the worker's thread only.
            dimension: Of the vectors.
            batch_tokens: Most tokens of a batch, padding included.
            call_limit: Calls of one priority that may be waiting or running at a time; each
                priority has its own room, so bulk work cannot shut interactive work out.
        """
        self._session = session
        self._dimension = dimension
        self._batch_tokens = batch_tokens
        self._call_limit = call_limit
        self._condition = threading.Condition()
        self._sequence = itertools.count()
        self._queue: list[_Batch] = []
        self._calls: set[Call] = set()
        self._running: tuple[_Batch, Stop] | None = None
        self._is_closed = False
        self._seconds_per_token = _INITIAL_SECONDS_PER_TOKEN
        self._thread = threading.Thread(target=self._work, name="embedder", daemon=True)
        self._thread.start()

    def submit(self, plan: WindowPlan, priority: Priority) -> Call:
        """Queue a plan of at least one window.

        Raises `ResourceExhausted` (`EMBEDDER_OVERLOADED`) when the queue is full and `Unavailable`
        when the worker is closed.
        """
        batches = pack(plan.windows, batch_tokens=self._batch_tokens)
        vectors = np.empty((len(plan.windows), self._dimension), np.float32)
        call = Call(plan, priority, vectors, missing=len(plan.windows))
        call.future.set_running_or_notify_cancel()  # ends by this worker's hand only, see `abandon`
        with self._condition:
            self._check_open()
            self._check_room(priority)
            self._calls.add(call)
            for indices in batches:
                rows = [(call, index) for index in indices]
                heapq.heappush(self._queue, _Batch(priority, next(self._sequence), rows))
            self._condition.notify()
        return call

    def check_room(self, priority: Priority) -> None:
        """Raise what `submit` would raise now; lets a caller spare the work of a plan."""
        with self._condition:
            self._check_open()
            self._check_room(priority)

    def abandon(self, call: Call) -> None:
        """Forget a call that nobody waits for, and stop its batch unless it serves others. Idempotent."""
        with self._condition:
            self._calls.discard(call)
            self._drop_orphans()
            if self._running is not None and not self._is_wanted(self._running[0]):
                self._running[1].set()

    def close(self) -> None:
        """Fail every call that is left and end the thread; waits for it. Idempotent."""
        with self._condition:
            self._is_closed = True
            calls = list(self._calls)
            self._calls.clear()
            self._queue.clear()
            if self._running is not None:
                self._running[1].set()
            self._condition.notify()
        for call in calls:
            call.future.set_exception(_closed())
        self._thread.join()

    def _check_open(self) -> None:
        if self._is_closed:
            raise _closed()

    def _check_room(self, priority: Priority) -> None:
        if sum(call.priority is priority for call in self._calls) < self._call_limit:
            return
        waiting_tokens = sum(call.plan.token_count for call in self._calls if call.priority <= priority)
        raise ResourceExhausted(
            "EMBEDDER_OVERLOADED",
            "too many texts are waiting to be embedded",
            metadata={"limit": str(self._call_limit), "priority": priority.name},
            retry_after_s=max(_MIN_RETRY_S, waiting_tokens * self._seconds_per_token),
        )

    def _is_wanted(self, batch: _Batch) -> bool:
        return any(call in self._calls for call, _ in batch.rows)

    def _drop_orphans(self) -> None:
        self._queue = [batch for batch in self._queue if self._is_wanted(batch)]
        heapq.heapify(self._queue)

    def _work(self) -> None:
        while True:
            with self._condition:
                self._running = None
                self._condition.wait_for(lambda: self._queue or self._is_closed)
                if self._is_closed:
                    return
                batch, stop = heapq.heappop(self._queue), Stop()
                self._running = batch, stop
            self._run(batch, stop)

    def _run(self, batch: _Batch, stop: Stop) -> None:
        windows = [call.plan.windows[index] for call, index in batch.rows]
        started = time.perf_counter()
        try:
            vectors = self._session.run(windows, stop)
            self._observe((time.perf_counter() - started) / (len(windows) * max(map(len, windows))))
            self._deliver(batch, vectors)
        except RunStopped:
            _logger.debug("embedding stopped", windows=len(windows))
        except RunFailed as error:
            _logger.error("embedding failed", where=where_raised(error), windows=len(windows))
            self._fail(batch, Unavailable(REASON, "the embedding model failed on a text of this call"))
        except Exception as error:  # noqa: BLE001
            # whatever broke, the callers must hear of it and the thread must go on for the others
            _logger.error("embedding broke", where=where_raised(error), windows=len(windows))
            self._fail(batch, Internal("INTERNAL", "the embedder broke"))

    def _observe(self, seconds_per_token: float) -> None:
        self._seconds_per_token += _RATE_SMOOTHING * (seconds_per_token - self._seconds_per_token)

    def _deliver(self, batch: _Batch, vectors: Embeddings) -> None:
        for (call, index), vector in zip(batch.rows, vectors, strict=True):
            call.vectors[index] = vector
            call.missing -= 1
            if call.missing == 0:
                merged = merge(call.plan, call.vectors)
                for finished in self._take([call]):
                    finished.future.set_result(merged)

    def _fail(self, batch: _Batch, error: RagError) -> None:
        for call in self._take({call for call, _ in batch.rows}):
            call.future.set_exception(error)

    def _take(self, calls: Iterable[Call]) -> list[Call]:
        """Remove `calls` from the worker's books; return those that were still in them."""
        with self._condition:
            taken = [call for call in calls if call in self._calls]
            self._calls.difference_update(taken)
            self._drop_orphans()
        return taken


def _closed() -> Unavailable:
    return Unavailable(REASON, "the embedder is closed: the server is stopping")
