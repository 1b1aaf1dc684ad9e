"""Deliveries of webhooks: an outbox towards the callers' own servers.

A row is written in the transaction that ends its job, so that no end is forgotten. Whoever claims a row puts
its next attempt behind the time that this one may take: nobody else claims it until then, and if the claimer
dies, another does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import literal, select
from sqlmodel import col

from rag_server.domain.ids import new_id
from rag_server.domain.job import Job
from rag_server.domain.webhook import Attempt, DeliveryState, Webhook, WebhookDelivery
from rag_server.metadata.codecs import webhook_to_json
from rag_server.metadata.session import Scope
from rag_server.metadata.tables import WebhookDeliveryRow
from rag_server.metadata.types import UtcDateTime


class WebhookRepository:
    """Deliveries, those that are done included: they tell what became of them."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add(self, job: Job, webhook: Webhook) -> None:
        """Have the end of `job` told to `webhook`. For this package only."""
        now = self._scope.clock()
        row = WebhookDeliveryRow(
            tenant_id=job.tenant_id,
            id=new_id(),
            job_id=job.id,
            job_sequence=job.sequence,
            webhook=webhook_to_json(webhook) or {},
            state=DeliveryState.PENDING.value,
            attempt_count=0,
            reason="",
            next_attempt_time=now,
            create_time=now,
        )
        self._scope.session.add(row)
        await self._scope.session.flush()

    async def of_job(self, tenant_id: str, job_id: str) -> WebhookDelivery | None:
        """Return the delivery of the job's last end; None: there is none."""
        statement = (
            select(WebhookDeliveryRow)
            .where(col(WebhookDeliveryRow.tenant_id) == tenant_id, col(WebhookDeliveryRow.job_id) == job_id)
            .order_by(col(WebhookDeliveryRow.job_sequence).desc())
            .limit(1)
        )
        row = (await self._scope.session.scalars(statement)).one_or_none()
        return None if row is None else _to_domain(row)

    async def claim(self, *, limit: int, lease_s: float) -> Sequence[WebhookDelivery]:
        """Return deliveries of all tenants that are due, the longest due first, and count an attempt of each.

        They are the caller's for `lease_s` seconds. Rows that another transaction has under way are passed
        over (PostgreSQL; on SQLite there is no other).
        """
        now = self._scope.clock()
        statement = (
            select(WebhookDeliveryRow)
            .where(
                col(WebhookDeliveryRow.state) == DeliveryState.PENDING.value,
                col(WebhookDeliveryRow.next_attempt_time) <= literal(now, UtcDateTime),
            )
            .order_by(col(WebhookDeliveryRow.next_attempt_time))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = (await self._scope.session.scalars(statement)).all()
        for row in rows:
            row.attempt_count += 1
            row.next_attempt_time = now + timedelta(seconds=lease_s)
        await self._scope.session.flush()
        return [_to_domain(row) for row in rows]

    async def record(
        self, tenant_id: str, delivery: WebhookDelivery, attempt: Attempt, *, retry_s: float | None
    ) -> bool:
        """Record how the attempt at a claimed delivery went; return False when another has claimed it since.

        `retry_s`: when it is tried again, in seconds; None: it is not.
        """
        statement = (
            select(WebhookDeliveryRow)
            .where(col(WebhookDeliveryRow.tenant_id) == tenant_id, col(WebhookDeliveryRow.id) == delivery.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        row = (await self._scope.session.scalars(statement)).one_or_none()
        if row is None or row.state != DeliveryState.PENDING or row.attempt_count != delivery.attempt_count:
            return False
        row.http_status, row.reason = attempt.http_status, attempt.reason
        if retry_s is not None:
            row.next_attempt_time = self._scope.clock() + timedelta(seconds=retry_s)
        else:
            state = DeliveryState.FAILED if attempt.reason else DeliveryState.DELIVERED
            row.state = state.value
        await self._scope.session.flush()
        return True


def _to_domain(row: WebhookDeliveryRow) -> WebhookDelivery:
    return WebhookDelivery(
        tenant_id=row.tenant_id,
        id=row.id,
        job_id=row.job_id,
        job_sequence=row.job_sequence,
        webhook=Webhook(**row.webhook),
        state=DeliveryState(row.state),
        attempt_count=row.attempt_count,
        http_status=row.http_status,
        reason=row.reason,
        next_attempt_time=row.next_attempt_time,
        create_time=row.create_time,
    )
