"""The one thread that runs a model, and the bounded queue before it.

Whenever the thread is free it takes what waits, at once: windows of the most urgent kind, of one call or
of several, that fit one run (`waiting`, `micro_batch`). So an idle worker makes nobody wait for company,
callers who come while it runs share the next run, and an interactive query waits for one run at most,
however much bulk work is queued. A run is stopped only when every call it serves was abandoned; one that
fails is repeated for each of its calls alone, so that only the call which breaks it hears of it.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from rag_server.backends.onnx.session import RunFailed, RunStopped, Stop
from rag_server.backends.onnx.waiting import Call, Job, Outputs, Row, WaitingRows
from rag_server.domain.priority import Priority
from rag_server.errors import Internal, RagError, ResourceExhausted, Unavailable
from rag_server.logs import where_raised

_logger = structlog.get_logger(__name__)

_MIN_RETRY_S = 0.1
_RATE_SMOOTHING = 0.2
_INITIAL_SECONDS_PER_TOKEN = 1.5e-4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelRole:
    """How a worker's model is spoken of."""

    noun: str
    unavailable: str
    """Reason of the `Unavailable` that its failures become."""
    overloaded: str | None
    """Reason of the `ResourceExhausted` for a full queue; None: that is `unavailable`, too."""


EMBEDDER = ModelRole("embedding model", "EMBEDDER_UNAVAILABLE", "EMBEDDER_OVERLOADED")
CROSS_ENCODER = ModelRole("cross-encoder", "RERANKER_UNAVAILABLE", None)
ENTAILMENT = ModelRole("entailment model", "GROUNDING_UNAVAILABLE", None)


class ModelWorker:
    """Owns the thread that sessions are run from, from construction to `close`.

    `submit`, `abandon` and `check_room` are called on event loops, `close` from any thread.
    """

    def __init__(self, *, batch_tokens: int, call_limit: int, role: ModelRole = EMBEDDER) -> None:
        """Start the thread.

        Args:
            batch_tokens: Most tokens of a run, padding included.
            call_limit: Calls of one priority that may be waiting or running at a time; each
                priority has its own room, so bulk work cannot shut interactive work out.
            role: For errors and logs.
        """
        self._batch_tokens = batch_tokens
        self._call_limit = call_limit
        self._role = role
        self._condition = threading.Condition()
        self._sequence = itertools.count()
        self._waiting = WaitingRows()
        self._calls: set[Call[Any]] = set()
        self._counts: Counter[Priority] = Counter()
        self._running: tuple[list[Row], Stop] | None = None
        self._is_closed = False
        self._seconds_per_token = _INITIAL_SECONDS_PER_TOKEN
        self._thread = threading.Thread(target=self._work, name=role.noun.replace(" ", "-"), daemon=True)
        self._thread.start()

    def submit(self, job: Job[T]) -> Call[T]:
        """Queue a job; its call's `future` belongs to the running event loop.

        Raises `ResourceExhausted` (`EMBEDDER_OVERLOADED`) when the queue is full and `Unavailable`
        when the worker is closed.
        """
        count = len(job.windows)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._condition:
            self._check_room(job.priority)
            call = Call(job, next(self._sequence), future, [None] * count, missing=count)
            self._calls.add(call)
            self._counts[job.priority] += 1
            self._waiting.add(call, range(count))
            self._condition.notify()
        return call

    def check_room(self, priority: Priority) -> None:
        """Raise what `submit` would raise now; lets a caller spare the work of a job."""
        with self._condition:
            self._check_room(priority)

    def abandon(self, call: Call[Any]) -> None:
        """Forget a call that nobody waits for, and stop its run unless it serves others. Idempotent."""
        with self._condition:
            self._forget([call])
            if self._running is not None and not self._is_wanted(self._running[0]):
                self._running[1].set()

    def expected_s(self, tokens: float, priority: Priority = Priority.INTERACTIVE) -> float:
        """Return the seconds that a job of so many tokens would take now, what waits before it included."""
        with self._condition:
            waiting = sum(call.job.token_count for call in self._calls if call.job.priority <= priority)
        return (waiting + tokens) * self._seconds_per_token

    def close(self) -> None:
        """Fail every call that is left and end the thread; waits for it. Idempotent."""
        with self._condition:
            self._is_closed = True
            calls = self._forget(list(self._calls))
            self._waiting.clear()
            if self._running is not None:
                self._running[1].set()
            self._condition.notify()
        _resolve_all((call, self._closed()) for call in calls)
        self._thread.join()

    def _check_room(self, priority: Priority) -> None:
        if self._is_closed:
            raise self._closed()
        if self._counts[priority] < self._call_limit:
            return
        waiting = sum(call.job.token_count for call in self._calls if call.job.priority <= priority)
        retry_after_s = max(_MIN_RETRY_S, waiting * self._seconds_per_token)
        metadata = {"limit": str(self._call_limit), "priority": priority.name}
        message = f"too many texts are waiting for the {self._role.noun}"
        if self._role.overloaded is None:
            raise Unavailable(self._role.unavailable, message, metadata=metadata, retry_after_s=retry_after_s)
        raise ResourceExhausted(
            self._role.overloaded, message, metadata=metadata, retry_after_s=retry_after_s
        )

    def _is_wanted(self, rows: list[Row]) -> bool:
        return any(call in self._calls for *_, call in rows)

    def _forget(self, calls: Iterable[Call[Any]]) -> list[Call[Any]]:
        """Take `calls` off the books and out of the queue; return those that were still there. Locked."""
        known = [call for call in calls if call in self._calls]
        for call in known:
            self._calls.remove(call)
            self._counts[call.job.priority] -= 1
            if call.missing:
                self._waiting.remove(call)
        return known

    def _work(self) -> None:
        while True:
            with self._condition:
                self._running = None
                self._condition.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                rows, stop = self._waiting.take(self._batch_tokens), Stop()
                self._running = rows, stop
            self._run(rows, stop)

    def _run(self, rows: list[Row], stop: Stop) -> None:
        windows = [call.job.windows[index] for _, _, index, call in rows]
        started = time.perf_counter()
        try:
            outputs = rows[0][3].job.run(windows, stop, is_shared=len({id(row[3]) for row in rows}) > 1)
            self._observe((time.perf_counter() - started) / (len(windows) * max(map(len, windows))))
            self._deliver(rows, outputs)
        except RunStopped:
            _logger.debug("run stopped", model=self._role.noun, windows=len(windows))
        except RunFailed as error:
            _logger.error(
                "run failed", model=self._role.noun, where=where_raised(error), windows=len(windows)
            )
            self._fail(rows, lambda: self._unavailable("failed on a text of this call"))
        except Exception as error:  # noqa: BLE001
            # whatever broke, the callers must hear of it and the thread must go on for the others
            cause = error
            self._fail(rows, lambda: self._broken(cause))

    def _observe(self, seconds_per_token: float) -> None:
        self._seconds_per_token += _RATE_SMOOTHING * (seconds_per_token - self._seconds_per_token)

    def _deliver(self, rows: list[Row], outputs: Outputs) -> None:
        if len(outputs) != len(rows):
            raise ValueError(f"{len(outputs)} outputs of {len(rows)} windows")
        finished: dict[Call[Any], Any] = {}
        for (_, _, index, call), output in zip(rows, outputs, strict=True):
            if call not in self._calls or call in finished:
                continue
            try:
                call.outputs[index] = call.job.keep(output)
                call.missing -= 1
                if call.missing == 0:
                    finished[call] = call.job.combine([kept for kept in call.outputs if kept is not None])
            except Exception as error:  # noqa: BLE001 (the other calls of the run are not to blame)
                finished[call] = self._broken(error)
        with self._condition:
            known = self._forget(finished)
        _resolve_all((call, finished[call]) for call in known)

    def _fail(self, rows: list[Row], error: Callable[[], RagError]) -> None:
        """Fail the call of `rows`; where they are of several, have each run alone before it is blamed."""
        calls = {call for *_, call in rows}
        with self._condition:
            if len(calls) == 1:
                calls = set(self._forget(calls))
            else:
                self._separate([row for row in rows if row[3] in self._calls])
                calls = set()
        _resolve_all((call, error()) for call in calls)

    def _separate(self, rows: list[Row]) -> None:
        """Put `rows` back, each call's with the rest of that call in a lane of its own. Locked."""
        for call in {call for *_, call in rows}:
            self._waiting.remove(call)
            call.is_alone = True
            self._waiting.add(call, [index for index, output in enumerate(call.outputs) if output is None])

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(self._role.unavailable, f"the {self._role.noun} {what}")

    def _broken(self, error: Exception) -> Internal:
        _logger.error("run broke", model=self._role.noun, where=where_raised(error))
        return Internal("INTERNAL", f"the {self._role.noun} broke")

    def _closed(self) -> Unavailable:
        return self._unavailable("is closed: the server is stopping")


def _resolve_all(outcomes: Iterable[tuple[Call[Any], Any]]) -> None:
    """Tell each call's event loop its results or errors: one wake-up per loop, however many calls."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for call, outcome in outcomes:
        by_loop.setdefault(call.future.get_loop(), []).append((call.future, outcome))
    for loop, resolved in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody is left who could ask
            loop.call_soon_threadsafe(_resolve, resolved)


def _resolve(outcomes: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in outcomes:
        if future.done():  # its caller was cancelled meanwhile
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
