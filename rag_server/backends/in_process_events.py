"""Events between servers that run in one process; of one alone there is nobody to tell."""

from __future__ import annotations

from collections.abc import Callable

from rag_server.backends.protocols import ServerEvents


class EventHub:
    """What the members of one bus share."""

    def __init__(self) -> None:
        self.members: list[InProcessEventBus] = []


class InProcessEventBus:
    """An `EventBus` in memory. Nothing gets lost, so there is never a gap."""

    def __init__(self, hub: EventHub | None = None) -> None:
        self._hub = hub or EventHub()
        self._listeners: list[Callable[[ServerEvents], None]] = []
        self._hub.members.append(self)

    def publish(self, events: ServerEvents) -> None:
        for member in self._hub.members:
            if member is not self:
                member.receive(events)

    def subscribe(self, on_events: Callable[[ServerEvents], None], on_gap: Callable[[], None]) -> None:
        self._listeners.append(on_events)

    def receive(self, events: ServerEvents) -> None:
        """Take what another member tells."""
        for listener in self._listeners:
            listener(events)

    async def close(self) -> None:
        if self in self._hub.members:
            self._hub.members.remove(self)
