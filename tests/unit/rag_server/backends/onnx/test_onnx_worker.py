"""The queue and its thread, over a session that the test holds by a gate."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from rag_server.backends.onnx.batching import Window, WindowPlan, plan_windows
from rag_server.backends.onnx.session import RunFailed, RunStopped, Stop
from rag_server.backends.onnx.worker import EmbeddingWorker
from rag_server.backends.protocols import Embeddings, Priority
from rag_server.errors import Internal, ResourceExhausted, Unavailable

WAIT_S = 30


class GatedSession:
    """Returns the first id of each window as its vector; each run waits until the gate lets it pass."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.runs: list[list[int]] = []
        self.stops: list[Stop] = []
        self.error: Exception | None = None

    def run(self, windows: list[Window], stop: Stop) -> Embeddings:
        self.runs.append([window[0] for window in windows])
        self.stops.append(stop)
        self.entered.release()
        assert self.gate.acquire(timeout=WAIT_S)
        if stop.is_set:
            raise RunStopped
        if self.error is not None:
            raise self.error
        return np.array([[window[0]] for window in windows], np.float32)

    def wait_until_running(self) -> None:
        assert self.entered.acquire(timeout=WAIT_S)

    def open(self) -> None:
        self.gate.release(1000)


@pytest.fixture
def session() -> GatedSession:
    return GatedSession()


@pytest.fixture
def worker(session: GatedSession) -> Iterator[EmbeddingWorker]:
    worker = EmbeddingWorker(session, dimension=1, batch_tokens=2, call_limit=3)
    yield worker
    session.open()
    worker.close()


def plan(*ids: int) -> WindowPlan:
    """Texts of one token each: two of them make a batch."""
    return plan_windows([[[i]] for i in ids], special_token_count=0)


def test_submit_interactive_overtakes_bulk_between_batches(
    session: GatedSession, worker: EmbeddingWorker
) -> None:
    bulk = worker.submit(plan(1, 2, 3, 4), Priority.BULK)
    session.wait_until_running()
    later_bulk = worker.submit(plan(5), Priority.BULK)
    queries = [worker.submit(plan(i), Priority.INTERACTIVE) for i in (6, 7)]
    session.open()
    assert later_bulk.future.result(WAIT_S).tolist() == [[5]]
    assert session.runs == [[1, 2], [6], [7], [3, 4], [5]]
    assert bulk.future.result(WAIT_S).tolist() == [[1], [2], [3], [4]]
    assert [query.future.result(WAIT_S).tolist() for query in queries] == [[[6]], [[7]]]


def test_submit_mixed_lengths_returns_the_order_of_the_caller(
    session: GatedSession, worker: EmbeddingWorker
) -> None:
    session.open()
    call = worker.submit(
        plan_windows([[[1]], [[2, 0, 0]], [[3, 0]], [[4]]], special_token_count=0), Priority.BULK
    )
    assert call.future.result(WAIT_S).tolist() == [[1], [2], [3], [4]]
    assert session.runs == [[2], [3], [1, 4]]


def test_submit_full_priority_raises_overloaded_and_spares_the_other(
    session: GatedSession, worker: EmbeddingWorker
) -> None:
    bulk = [worker.submit(plan(i), Priority.BULK) for i in range(3)]
    with pytest.raises(ResourceExhausted) as raised:
        worker.submit(plan(9), Priority.BULK)
    assert raised.value.reason == "EMBEDDER_OVERLOADED"
    assert raised.value.retry_after_s is not None
    assert raised.value.retry_after_s > 0
    with pytest.raises(ResourceExhausted):
        worker.check_room(Priority.BULK)
    query = worker.submit(plan(8), Priority.INTERACTIVE)
    session.open()
    assert query.future.result(WAIT_S).tolist() == [[8]]
    for call in bulk:
        call.future.result(WAIT_S)
    worker.check_room(Priority.BULK)


def test_abandon_waiting_call_never_runs_it_and_frees_its_place(
    session: GatedSession, worker: EmbeddingWorker
) -> None:
    first, waiting, last = (worker.submit(plan(i), Priority.BULK) for i in range(3))
    session.wait_until_running()
    worker.abandon(waiting)
    worker.abandon(waiting)
    fourth = worker.submit(plan(3), Priority.BULK)
    session.open()
    assert fourth.future.result(WAIT_S).tolist() == [[3]]
    assert session.runs == [[0], [2], [3]]
    assert first.future.done()
    assert last.future.done()
    assert not waiting.future.done()


def test_abandon_running_call_stops_its_run_and_skips_its_other_batches(
    session: GatedSession, worker: EmbeddingWorker
) -> None:
    leaving = worker.submit(plan(1, 2, 3, 4, 5), Priority.BULK)
    session.wait_until_running()
    worker.abandon(leaving)
    assert session.stops[0].is_set
    staying = worker.submit(plan(6), Priority.BULK)
    session.open()
    assert staying.future.result(WAIT_S).tolist() == [[6]]
    assert session.runs == [[1, 2], [6]]
    assert not session.stops[1].is_set


def test_abandon_waiting_call_leaves_another_callers_run_alone(
    session: GatedSession, worker: EmbeddingWorker
) -> None:
    running = worker.submit(plan(1), Priority.BULK)
    session.wait_until_running()
    worker.abandon(worker.submit(plan(2), Priority.BULK))
    assert not session.stops[0].is_set
    session.open()
    assert running.future.result(WAIT_S).tolist() == [[1]]


@pytest.mark.parametrize(
    ("error", "expected", "reason"),
    [
        (RunFailed("secret detail"), Unavailable, "EMBEDDER_UNAVAILABLE"),
        (ZeroDivisionError("secret detail"), Internal, "INTERNAL"),
    ],
)
def test_run_that_fails_reaches_its_caller_once_and_the_next_call_works(
    session: GatedSession,
    worker: EmbeddingWorker,
    error: Exception,
    expected: type[Exception],
    reason: str,
) -> None:
    session.error = error
    broken = worker.submit(plan(1, 2, 3), Priority.BULK)
    session.gate.release()
    raised = broken.future.exception(WAIT_S)
    assert isinstance(raised, expected)
    assert raised.reason == reason  # type: ignore[attr-defined]  # both expected classes are RagError
    assert "secret" not in str(raised)
    session.error = None
    session.open()
    assert worker.submit(plan(4), Priority.BULK).future.result(WAIT_S).tolist() == [[4]]
    assert [3] not in session.runs  # the rest of the broken call


def test_close_fails_what_runs_and_waits_and_refuses_what_comes(
    session: GatedSession, worker: EmbeddingWorker
) -> None:
    calls = [worker.submit(plan(i, i), Priority.BULK) for i in range(2)]
    session.wait_until_running()
    closer = threading.Thread(target=worker.close)
    closer.start()
    outcomes = [call.future.exception(WAIT_S) for call in calls]
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert session.stops[0].is_set
    session.open()
    closer.join(WAIT_S)
    assert not closer.is_alive()
    worker.close()
    assert len(session.runs) == 1
    with pytest.raises(Unavailable):
        worker.submit(plan(1), Priority.INTERACTIVE)
