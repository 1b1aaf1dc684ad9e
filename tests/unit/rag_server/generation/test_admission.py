from __future__ import annotations

import asyncio
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


async def test_permit_is_given_back_after_an_error() -> None:
    gate = Gate("small", permits=1, queue=0)
    with pytest.raises(KeyError):
        async with gate.turn(INTERACTIVE):
            raise KeyError
    assert gate.running_count == 0
