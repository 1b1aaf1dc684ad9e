"""The queue and its thread, over a session that the test holds by a gate.

Calls and their order are decided before the gate opens, so nothing here depends on time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest

from rag_server.backends.onnx.session import RunFailed, RunStopped, Stop
from rag_server.backends.onnx.waiting import Call, Job
from rag_server.backends.onnx.worker import CROSS_ENCODER, ModelWorker
from rag_server.backends.protocols import Embeddings
from rag_server.domain.priority import Priority
from rag_server.errors import Internal, ResourceExhausted, Unavailable

WAIT_S = 30
POISON = 666
INTERACTIVE, BULK = Priority


class GatedSession:
    """Returns the first id of each window as its vector; each run waits until the gate lets it pass."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.runs: list[list[int]] = []
        self.stops: list[Stop] = []
        self.shared: list[bool] = []
        self.error: Exception | None = None

    def run(self, windows: list[list[int]], stop: Stop, *, is_shared: bool = False) -> Embeddings:
        self.runs.append([window[0] for window in windows])
        self.stops.append(stop)
        self.shared.append(is_shared)
        self.entered.release()
        assert self.gate.acquire(timeout=WAIT_S)
        if stop.is_set:
            raise RunStopped
        if self.error is not None:
            raise self.error
        if POISON in self.runs[-1]:
            raise RunFailed("secret detail")
        return np.array([[window[0]] for window in windows], np.float32)

    def run_patiently(self, windows: list[list[int]], stop: Stop, *, is_shared: bool = False) -> Embeddings:
        return self.run(windows, stop, is_shared=is_shared)

    def wait_until_running(self) -> None:
        assert self.entered.acquire(timeout=WAIT_S)

    def open(self) -> None:
        self.gate.release(1000)


@pytest.fixture
def session() -> GatedSession:
    return GatedSession()


class Worker(ModelWorker):
    """Takes ids for windows."""

    session: GatedSession

    def queue(self, *ids: int, priority: Priority = BULK, length: int = 1) -> Call[list[int]]:
        """Queue windows of `length` tokens, with these first ids."""
        windows = [[i] * length for i in ids]
        return self.submit(Job(self.session.run, windows, np.copy, to_ids, priority))


def to_ids(outputs: list[np.ndarray]) -> list[int]:
    return [int(output[0]) for output in outputs]


async def result(call: Call[list[int]]) -> list[int]:
    return await asyncio.wait_for(call.future, WAIT_S)


@pytest.fixture
async def worker(session: GatedSession) -> AsyncIterator[Worker]:
    """Two windows of one token fill a run."""
    worker = Worker(batch_tokens=2, call_limit=3)
    worker.session = session
    yield worker
    session.open()
    await asyncio.to_thread(worker.close)


async def test_submit_interactive_overtakes_bulk_between_runs(session: GatedSession, worker: Worker) -> None:
    bulk = worker.queue(1, 2, 3, 4)
    session.wait_until_running()
    later_bulk = worker.queue(5)
    queries = [worker.queue(i, priority=INTERACTIVE) for i in (6, 7, 8)]
    session.open()
    assert await result(later_bulk) == [5]
    assert session.runs == [[1, 2], [6, 7], [8], [3, 4], [5]]
    assert await result(bulk) == [1, 2, 3, 4]
    assert [await result(query) for query in queries] == [[6], [7], [8]]


async def test_submit_idle_worker_starts_the_first_call_alone(session: GatedSession, worker: Worker) -> None:
    first = worker.queue(1)
    session.wait_until_running()
    assert session.runs == [[1]]
    others = [worker.queue(2), worker.queue(3)]
    session.open()
    assert [await result(call) for call in (first, *others)] == [[1], [2], [3]]
    assert session.runs == [[1], [2, 3]]


async def test_submit_run_of_several_calls_is_told_to_be_shared(
    session: GatedSession, worker: Worker
) -> None:
    calls = [worker.queue(1)]
    session.wait_until_running()
    calls += [worker.queue(2), worker.queue(3), worker.queue(4, 5, priority=INTERACTIVE)]
    session.open()
    assert [await result(call) for call in calls] == [[1], [2], [3], [4, 5]]
    assert list(zip(session.runs, session.shared, strict=True)) == [
        ([1], False),
        ([4, 5], False),
        ([2, 3], True),
    ]


async def test_submit_patient_job_lets_later_ones_of_its_priority_go_first(
    session: GatedSession, worker: Worker
) -> None:
    running = worker.queue(1, priority=INTERACTIVE)
    session.wait_until_running()
    patient = worker.submit(
        Job(session.run_patiently, [[2], [3], [4]], np.copy, to_ids, INTERACTIVE, is_patient=True)
    )
    query = worker.queue(5, priority=INTERACTIVE)
    session.open()
    assert await result(patient) == [2, 3, 4]
    assert await result(query) == [5]
    assert await result(running) == [1]
    assert session.runs == [[1], [5], [2, 3], [4]]


async def test_submit_mixed_lengths_runs_the_longest_first_and_keeps_the_order_of_the_caller(
    session: GatedSession, worker: Worker
) -> None:
    session.open()
    windows = [[1], [2, 0, 0], [3, 0], [4]]
    call = worker.submit(Job(session.run, windows, np.copy, to_ids, BULK))
    assert await result(call) == [1, 2, 3, 4]
    assert session.runs == [[2], [3], [1, 4]]


async def test_submit_oldest_call_is_never_passed_over(session: GatedSession) -> None:
    worker = Worker(batch_tokens=100, call_limit=100)
    worker.session = session
    worker.queue(0)
    session.wait_until_running()
    oldest = worker.queue(1, length=10)
    others = [worker.queue(i, length=50) for i in range(2, 12)]
    session.open()
    await asyncio.gather(*(result(call) for call in (oldest, *others)))
    assert session.runs[1] == [1]
    assert sorted(i for run in session.runs[2:] for i in run) == list(range(2, 12))
    assert all(len(run) == 2 for run in session.runs[2:])
    await asyncio.to_thread(worker.close)


async def test_submit_full_priority_raises_overloaded_and_spares_the_other(
    session: GatedSession, worker: Worker
) -> None:
    bulk = [worker.queue(i) for i in range(3)]
    with pytest.raises(ResourceExhausted) as raised:
        worker.queue(9)
    assert raised.value.reason == "EMBEDDER_OVERLOADED"
    assert raised.value.retry_after_s is not None
    assert raised.value.retry_after_s > 0
    with pytest.raises(ResourceExhausted):
        worker.check_room(BULK)
    query = worker.queue(8, priority=INTERACTIVE)
    session.open()
    assert await result(query) == [8]
    for call in bulk:
        await result(call)
    worker.check_room(BULK)


async def test_submit_full_queue_of_a_reranker_is_unavailable(session: GatedSession) -> None:
    worker = ModelWorker(batch_tokens=1, call_limit=1, role=CROSS_ENCODER)
    job = Job(session.run, [[1]], np.copy, to_ids, INTERACTIVE)
    worker.submit(job)
    with pytest.raises(Unavailable, match="too many texts are waiting for the cross-encoder") as raised:
        worker.submit(job)
    assert raised.value.reason == "RERANKER_UNAVAILABLE"
    session.open()
    await asyncio.to_thread(worker.close)


async def test_expected_s_counts_what_waits_at_the_same_or_a_higher_priority(
    session: GatedSession, worker: Worker
) -> None:
    idle = worker.expected_s(100)
    assert idle > 0
    assert worker.expected_s(200) == pytest.approx(2 * idle)
    calls = [worker.queue(1, length=50, priority=INTERACTIVE), worker.queue(2, length=200)]
    assert worker.expected_s(100) == pytest.approx(1.5 * idle)
    assert worker.expected_s(100, BULK) == pytest.approx(3.5 * idle)
    session.open()
    for call in calls:
        await result(call)


async def test_abandon_waiting_call_never_runs_it_and_frees_its_place(
    session: GatedSession, worker: Worker
) -> None:
    first = worker.queue(0)
    session.wait_until_running()
    waiting, last = worker.queue(1), worker.queue(2)
    worker.abandon(waiting)
    worker.abandon(waiting)
    fourth = worker.queue(3)
    session.open()
    assert await result(fourth) == [3]
    assert session.runs == [[0], [2, 3]]
    assert await result(first) == [0]
    assert await result(last) == [2]
    assert not waiting.future.done()


async def test_abandon_running_call_stops_its_run_and_skips_the_rest_of_it(
    session: GatedSession, worker: Worker
) -> None:
    leaving = worker.queue(1, 2, 3, 4, 5)
    session.wait_until_running()
    worker.abandon(leaving)
    assert session.stops[0].is_set
    staying = worker.queue(6)
    session.open()
    assert await result(staying) == [6]
    assert session.runs == [[1, 2], [6]]
    assert not session.stops[1].is_set


async def test_abandon_one_of_a_shared_run_stops_it_only_with_the_last(
    session: GatedSession, worker: Worker
) -> None:
    first = worker.queue(0)
    session.wait_until_running()
    leaving, staying = worker.queue(1), worker.queue(2)
    session.gate.release()
    session.wait_until_running()
    assert session.runs[1] == [1, 2]
    worker.abandon(leaving)
    assert not session.stops[1].is_set
    session.open()
    assert await result(staying) == [2]
    assert await result(first) == [0]
    assert not leaving.future.done()


@pytest.mark.parametrize(
    ("error", "expected", "reason"),
    [
        (RunFailed("secret detail"), Unavailable, "EMBEDDER_UNAVAILABLE"),
        (ZeroDivisionError("secret detail"), Internal, "INTERNAL"),
    ],
)
async def test_run_that_fails_reaches_its_caller_once_and_the_next_call_works(
    session: GatedSession, worker: Worker, error: Exception, expected: type[Exception], reason: str
) -> None:
    session.error = error
    broken = worker.queue(1, 2, 3)
    session.gate.release()
    with pytest.raises(expected) as raised:
        await result(broken)
    assert raised.value.reason == reason  # type: ignore[attr-defined]  # both expected classes are RagError
    assert "secret" not in str(raised.value)
    session.error = None
    session.open()
    assert await result(worker.queue(4)) == [4]
    assert [3] not in session.runs  # the rest of the broken call


async def test_shared_run_that_fails_is_repeated_alone_and_blames_the_breaker_only(
    session: GatedSession,
) -> None:
    worker = Worker(batch_tokens=8, call_limit=10)
    worker.session = session
    first = worker.queue(0)
    session.wait_until_running()
    innocent, breaker, other = worker.queue(1, 2), worker.queue(POISON), worker.queue(3)
    session.open()
    with pytest.raises(Unavailable):
        await result(breaker)
    assert [await result(call) for call in (first, innocent, other)] == [[0], [1, 2], [3]]
    assert session.runs == [[0], [1, 2, POISON, 3], [1, 2], [POISON], [3]]
    worker.check_room(BULK)
    assert await result(worker.queue(4)) == [4]
    await asyncio.to_thread(worker.close)


async def test_shared_run_that_fails_leaves_abandoned_calls_out_of_the_repetition(
    session: GatedSession, worker: Worker
) -> None:
    worker.queue(0)
    session.wait_until_running()
    leaving, staying = worker.queue(1), worker.queue(2)
    session.gate.release()
    session.wait_until_running()
    session.error = RunFailed("secret detail")
    worker.abandon(leaving)
    session.gate.release()
    session.wait_until_running()
    session.error = None
    session.open()
    assert await result(staying) == [2]
    assert session.runs == [[0], [1, 2], [2]]


async def test_result_that_cannot_be_combined_fails_its_call_alone(
    session: GatedSession, worker: Worker
) -> None:
    def refuse(outputs: list[np.ndarray]) -> list[int]:
        raise ZeroDivisionError("secret detail")

    worker.queue(0)
    session.wait_until_running()
    broken = worker.submit(Job(session.run, [[1]], np.copy, refuse, BULK))
    other = worker.queue(2)
    session.open()
    with pytest.raises(Internal):
        await result(broken)
    assert await result(other) == [2]
    assert session.runs == [[0], [1, 2]]


async def test_close_fails_what_runs_and_waits_and_refuses_what_comes(
    session: GatedSession, worker: Worker
) -> None:
    calls = [worker.queue(i, i) for i in range(2)]
    session.wait_until_running()
    closing = asyncio.create_task(asyncio.to_thread(worker.close))
    for call in calls:
        with pytest.raises(Unavailable):
            await result(call)
    assert session.stops[0].is_set
    session.open()
    await asyncio.wait_for(closing, WAIT_S)
    await asyncio.to_thread(worker.close)
    assert len(session.runs) == 1
    with pytest.raises(Unavailable):
        worker.queue(1, priority=INTERACTIVE)


def test_result_for_an_event_loop_that_has_ended_is_dropped(session: GatedSession) -> None:
    worker = Worker(batch_tokens=2, call_limit=3)
    worker.session = session

    async def leave() -> None:
        worker.queue(1)
        session.wait_until_running()

    async def stay() -> list[int]:
        call = worker.queue(2)
        session.open()
        return await result(call)

    asyncio.run(leave())
    assert asyncio.run(stay()) == [2]
    worker.close()
