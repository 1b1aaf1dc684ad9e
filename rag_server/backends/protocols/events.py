"""The role of what servers tell each other by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rag_server.domain.change import CollectionChange


@dataclass(frozen=True, slots=True)
class ServerEvents:
    """Word that jobs and collections are not what they were."""

    jobs: Sequence[tuple[str, str]] = ()
    """Tenant and id of each job."""
    collections: Sequence[CollectionChange] = ()


class EventBus(Protocol):
    """Tells the other processes what has changed. Nothing depends on an event but how soon it is noticed.

    Events get lost with a connection; `on_gap` tells when that may have happened.
    """

    def publish(self, events: ServerEvents) -> None:
        """Tell all other members, soon; never waits, never fails."""
        ...

    def subscribe(self, on_events: Callable[[ServerEvents], None], on_gap: Callable[[], None]) -> None:
        """Call `on_events` with what others tell, and `on_gap` when something may have been missed."""
        ...

    async def close(self) -> None: ...
