from __future__ import annotations

import asyncio

from rag_server.backends.deliveries import BULK_TURN, Deliveries
from rag_server.domain.priority import Priority


async def test_bulk_comes_through_once_in_a_while_when_the_interactive_do_not_end() -> None:
    waiting: Deliveries[str] = Deliveries()
    for _ in range(3):
        waiting.put(Priority.BULK, "bulk")
    for _ in range(50):
        waiting.put(Priority.INTERACTIVE, "interactive")
    taken = [await waiting.take() for _ in range(3 * BULK_TURN)]
    assert [place for place, item in enumerate(taken, 1) if item == "bulk"] == [
        BULK_TURN,
        2 * BULK_TURN,
        3 * BULK_TURN,
    ]


async def test_interactive_alone_does_not_use_up_its_turns() -> None:
    waiting: Deliveries[str] = Deliveries()
    for _ in range(2 * BULK_TURN):
        waiting.put(Priority.INTERACTIVE, "interactive")
        await waiting.take()
    waiting.put(Priority.BULK, "bulk")
    waiting.put(Priority.INTERACTIVE, "interactive")
    assert [await waiting.take(), await waiting.take()] == ["interactive", "bulk"]


async def test_take_after_clear_waits_for_the_next() -> None:
    waiting: Deliveries[int] = Deliveries()
    for number in range(5):
        waiting.put(Priority.BULK, number)
    assert waiting.clear() == [0, 1, 2, 3, 4]
    taker = asyncio.create_task(waiting.take())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not taker.done()
    waiting.put(Priority.INTERACTIVE, 9)
    assert await taker == 9
    assert waiting.waiting(Priority.INTERACTIVE) == 0
