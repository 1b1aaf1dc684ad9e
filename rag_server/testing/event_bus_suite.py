"""What every `EventBus` must do. Subclass it and provide the fixture `buses`: two members of one bus."""

from __future__ import annotations

import asyncio

from rag_server.backends.protocols import EventBus, ServerEvents
from rag_server.domain.change import CollectionChange

PATIENCE_S = 30.0
MOVED = CollectionChange("acme", "papers", "u" * 32, 7)
DELETED = CollectionChange("acme", "old", "d" * 32, None)


class Heard:
    """What one member was told."""

    def __init__(self, bus: EventBus) -> None:
        self.jobs: list[tuple[str, str]] = []
        self.collections: list[CollectionChange] = []
        self.gaps = 0
        self._changed = asyncio.Event()
        bus.subscribe(self._take, self._note_gap)

    def _take(self, events: ServerEvents) -> None:
        self.jobs += events.jobs
        self.collections += events.collections
        self._changed.set()

    def _note_gap(self) -> None:
        self.gaps += 1
        self._changed.set()

    async def until(self, *, jobs: int = 0, collections: int = 0, gaps: int = 0) -> None:
        """Wait until so much was heard."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.jobs) < jobs or len(self.collections) < collections or self.gaps < gaps:
                await self._changed.wait()
                self._changed.clear()


Buses = tuple[EventBus, EventBus]


class EventBusSuite:
    """The conformance suite."""

    async def test_others_hear_of_jobs_and_collections(self, buses: Buses) -> None:
        heard = Heard(buses[1])
        buses[0].publish(ServerEvents(jobs=[("acme", "j1")]))
        buses[0].publish(ServerEvents(collections=[MOVED, DELETED]))
        await heard.until(jobs=1, collections=2)
        assert heard.jobs == [("acme", "j1")]
        assert heard.collections == [MOVED, DELETED]

    async def test_sender_does_not_hear_itself(self, buses: Buses) -> None:
        own, other = Heard(buses[0]), Heard(buses[1])
        buses[0].publish(ServerEvents(jobs=[("acme", "mine")]))
        await other.until(jobs=1)
        buses[1].publish(ServerEvents(jobs=[("acme", "theirs")]))
        await own.until(jobs=1)
        assert own.jobs == [("acme", "theirs")]

    async def test_many_at_once_all_arrive(self, buses: Buses) -> None:
        heard = Heard(buses[1])
        jobs = [("acme", f"j{number}") for number in range(500)]
        for job in jobs:
            buses[0].publish(ServerEvents(jobs=[job]))
        await heard.until(jobs=500)
        assert heard.jobs == jobs

    async def test_several_listeners_all_hear(self, buses: Buses) -> None:
        both = [Heard(buses[1]), Heard(buses[1])]
        buses[0].publish(ServerEvents(collections=[MOVED]))
        for heard in both:
            await heard.until(collections=1)
            assert heard.collections == [MOVED]

    async def test_close_twice_does_no_harm(self, buses: Buses) -> None:
        await buses[0].close()
        await buses[0].close()
