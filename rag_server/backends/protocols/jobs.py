"""The roles of what hands jobs to workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rag_server.domain.priority import Priority


@dataclass(frozen=True, slots=True)
class JobMessage:
    """All that travels through a queue: which job it is, never what is in it."""

    tenant_id: str
    job_id: str
    priority: Priority = Priority.INTERACTIVE
    trace_parent: str = ""
    """W3C trace context of the call that handed the job in; empty without one."""


class Delivery(Protocol):
    """A message that one consumer has, and has to answer for in one of three ways, once.

    None of them fails: where the answer does not arrive, the message comes again, as it does after a crash.
    """

    @property
    def message(self) -> JobMessage: ...

    async def ack(self) -> None:
        """The job needs no more work for this message."""
        ...

    async def retry(self, delay_s: float) -> None:
        """Have the message delivered again, not much later than in `delay_s` seconds, and not before."""
        ...

    async def dead_letter(self) -> None:
        """Give the message up: it comes out at `JobQueue.take_dead`."""
        ...


class JobQueue(Protocol):
    """Hands each published message to one consumer, at least once; the jobs live in the metadata store.

    The interactive go before the bulk, though a few of these come through when both wait. Within a priority
    messages leave in the order in which they came. Few wait at a time, so that the outbox decides who is
    next (docs/decisions/0014); it is asked for no more than there is `room` for.
    """

    async def room(self, priority: Priority) -> int:
        """Return how many more should be published now. Raises `Unavailable` (`JOB_QUEUE_UNAVAILABLE`)."""
        ...

    async def publish(self, messages: Sequence[JobMessage]) -> Sequence[JobMessage]:
        """Hand over messages; return those that are safe with the queue. The others have to come again.

        Raises `Unavailable` (`JOB_QUEUE_UNAVAILABLE`) when it is not known of any.
        """
        ...

    async def take(self) -> Delivery:
        """Wait for a message and take it."""
        ...

    async def take_dead(self) -> Delivery:
        """Wait for a message that was given up, by a consumer or because it was delivered too often."""
        ...

    async def check(self) -> None:
        """Raise `Unavailable` (`JOB_QUEUE_UNAVAILABLE`) unless the queue answers."""
        ...

    async def close(self) -> None:
        """Stop delivering; what was taken and not answered for is delivered again, to others."""
        ...
