"""The outbox: jobs that are accepted and still have to be handed to the queue."""

from __future__ import annotations

from dataclasses import dataclass

from rag_server.domain.priority import Priority


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One job that waits for its turn to be published."""

    tenant_id: str
    job_id: str
    priority: Priority
    trace_parent: str
    """W3C trace context of the call that handed the job in; empty without one."""
