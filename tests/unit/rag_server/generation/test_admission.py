from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace

import pytest

from rag_server.domain.priority import Priority
from rag_server.errors import ResourceExhausted
from rag_server.generation.admission import Gate

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK


class Visitors:
    """Go through a gate one by one, each when told to leave."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.entered: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._leave: dict[str, asyncio.Event] = {}

    async def come(self, name: str, priority: Priority = INTERACTIVE) -> None:
        self._leave[name] = asyncio.Event()

        async def visit() -> None:
            async with self.gate.turn(priority):
                self.entered.append(name)
                await self._leave[name].wait()

        self.tasks[name] = asyncio.create_task(visit())
        await settled()

    async def leave(self, name: str) -> None:
        self._leave[name].set()
        await self.tasks[name]
        await settled()


async def settled() -> None:
    """Let every task run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_permits_are_given_in_the_order_of_arrival_the_interactive_first() -> None:
    visitors = Visitors(Gate("small", permits=1, queue=4))
    await visitors.come("first")
    await visitors.come("bulk", BULK)
    await visitors.come("second")
    await visitors.come("third")
    assert visitors.entered == ["first"]
    assert (visitors.gate.running_count, visitors.gate.waiting_count) == (1, 3)
    for name in ("first", "second", "third", "bulk"):
        await visitors.leave(name)
    assert visitors.entered == ["first", "second", "third", "bulk"]
    assert (visitors.gate.running_count, visitors.gate.waiting_count) == (0, 0)


async def test_gate_lets_as_many_in_as_it_has_permits() -> None:
    visitors = Visitors(Gate("small", permits=2, queue=4))
    for name in "abc":
        await visitors.come(name)
    assert visitors.entered == ["a", "b"]
    for name in "bac":
        await visitors.leave(name)


async def test_queue_that_is_full_refuses_and_says_when_to_come_back() -> None:
    visitors = Visitors(Gate("small", permits=1, queue=1))
    await visitors.come("a")
    await visitors.come("b")
    with pytest.raises(ResourceExhausted) as caught:
        async with visitors.gate.turn(INTERACTIVE):
            pass
    assert caught.value.reason == "MODEL_QUEUE_FULL"
    assert caught.value.metadata == {"model": "small", "limit": "1"}
    assert caught.value.retry_after_s == 2.0  # two before it, a second each until more is known
    await visitors.leave("a")
    await visitors.leave("b")


async def test_time_to_come_back_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("rag_server.generation.admission.time", SimpleNamespace(monotonic=lambda: now))
    gate = Gate("small", permits=2, queue=0)
    async with gate.turn(INTERACTIVE):
        now += 40.0
    async with gate.turn(INTERACTIVE), gate.turn(INTERACTIVE):
        with pytest.raises(ResourceExhausted) as caught:
            async with gate.turn(INTERACTIVE):
                pass
    assert caught.value.retry_after_s == 20.0


async def test_visitor_who_gives_up_waiting_leaves_the_queue() -> None:
    visitors = Visitors(Gate("small", permits=1, queue=2))
    for name in "abc":
        await visitors.come(name)
    visitors.tasks["b"].cancel()
    await settled()
    assert visitors.gate.waiting_count == 1
    await visitors.leave("a")
    assert visitors.entered == ["a", "c"]
    await visitors.leave("c")
    assert visitors.gate.running_count == 0


async def test_permit_that_comes_with_the_cancellation_goes_to_the_next() -> None:
    visitors = Visitors(Gate("small", permits=1, queue=2))
    for name in "abc":
        await visitors.come(name)
    visitors._leave["a"].set()
    await asyncio.sleep(0)  # a leaves, and b has the permit without having run
    visitors.tasks["b"].cancel()
    await settled()
    assert visitors.entered[-1] == "c"
    await visitors.leave("c")
    assert visitors.gate.running_count == 0


async def test_interactive_request_takes_the_place_of_the_last_bulk_one_where_no_more_may_wait() -> None:
    visitors = Visitors(Gate("small", permits=1, queue=3))
    await visitors.come("running", BULK)
    await visitors.come("early", BULK)
    await visitors.come("late", BULK)
    await visitors.come("first")
    await visitors.come("second")
    with pytest.raises(ResourceExhausted) as caught:
        await visitors.tasks["late"]
    assert (caught.value.reason, caught.value.retry_after_s) == ("MODEL_QUEUE_FULL", 4.0)
    await visitors.come("refused", BULK)
    with pytest.raises(ResourceExhausted):
        await visitors.tasks["refused"]
    await visitors.come("third")
    with pytest.raises(ResourceExhausted):
        await visitors.tasks["early"]
    await visitors.come("too many")
    with pytest.raises(ResourceExhausted):
        await visitors.tasks["too many"]
    for name in ("running", "first", "second", "third"):
        await visitors.leave(name)
    assert visitors.entered == ["running", "first", "second", "third"]
    assert (visitors.gate.running_count, visitors.gate.waiting_count) == (0, 0)


async def test_visitor_who_gives_up_as_its_place_is_taken_releases_nothing() -> None:
    visitors = Visitors(Gate("small", permits=1, queue=1))
    await visitors.come("running")
    await visitors.come("bulk", BULK)
    urgent = asyncio.create_task(visitors.come("urgent"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the place is taken, and the bulk one does not know of it
    visitors.tasks["bulk"].cancel()
    await urgent
    assert visitors.tasks["bulk"].done()
    assert (visitors.gate.running_count, visitors.gate.waiting_count) == (1, 1)
    for name in ("running", "urgent"):
        await visitors.leave(name)
    assert visitors.gate.running_count == 0


async def test_visitors_who_give_up_leave_nothing_in_the_queue_while_nobody_goes_on() -> None:
    visitors = Visitors(Gate("small", permits=1, queue=2))
    await visitors.come("running")
    for number in range(50):
        await visitors.come(f"{number}")
        visitors.tasks[f"{number}"].cancel()
        await settled()
    assert len(visitors.gate._waiting) == 0
    await visitors.leave("running")
    assert (visitors.gate.running_count, visitors.gate.waiting_count) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_gate_is_empty_after_any_coming_and_going(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    gate = Gate("small", permits=2, queue=3)
    inside = most = 0

    async def visit() -> None:
        nonlocal inside, most
        async with gate.turn(draw.choice((INTERACTIVE, BULK))):
            inside += 1
            most = max(most, inside)
            try:
                for _ in range(draw.randrange(6)):
                    await asyncio.sleep(0)
            finally:
                inside -= 1

    tasks: list[asyncio.Task[None]] = []
    for _ in range(100):
        tasks.append(asyncio.create_task(visit()))
        if draw.random() < 0.4:
            draw.choice(tasks).cancel()
        for _ in range(draw.randrange(3)):
            await asyncio.sleep(0)
        assert gate.waiting_count <= 3
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 2
    assert (gate.running_count, gate.waiting_count) == (0, 0)


async def test_permit_is_given_back_after_an_error() -> None:
    gate = Gate("small", permits=1, queue=0)
    with pytest.raises(KeyError):
        async with gate.turn(INTERACTIVE):
            raise KeyError
    assert gate.running_count == 0
