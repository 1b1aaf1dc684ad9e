"""The relay of webhooks: tells the ends of jobs to the callers' own servers, again until it has succeeded.

The row of a delivery is committed with the end of its job. A relay claims it for a while before it sends, so
that of several servers one sends; one that dies in between leaves it to the others, and the same delivery may
arrive twice, with the same id.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry, Counter

from rag_server.domain.job import Job
from rag_server.domain.webhook import Attempt, Webhook, WebhookDelivery
from rag_server.errors import NotFound, RagError
from rag_server.metadata.database import Database

log = structlog.get_logger()

_AFTER_FAILURE_S = 1.0
_MAX_BACKOFF_S = 3600.0


class Sender(Protocol):
    """What makes one attempt."""

    async def send(self, webhook: Webhook, delivery_id: str, body: bytes) -> Attempt:
        """Return how it went; raises nothing, and takes no longer than the relay's `timeout_s`."""
        ...


class WebhookRelay:
    """Sends until cancelled: at once for jobs that end in this process, after `poll_s` for others."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        encode: Callable[[WebhookDelivery, Job], bytes],
        *,
        poll_s: float,
        lease_s: float,
        max_attempts: int,
        backoff_s: float,
        concurrency: int,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Set the bounds.

        Args:
            database: Has the deliveries.
            sender: Makes an attempt within `lease_s`.
            encode: Makes the body of a delivery and the job as it ended.
            poll_s: Between two looks for what is due, in seconds.
            lease_s: How long a delivery belongs to whoever has claimed it, in seconds.
            max_attempts: After which a delivery is given up.
            backoff_s: Wait before the second attempt; doubled each time, with jitter, up to an hour.
            concurrency: Attempts at once.
            registry: Where attempts are counted.
        """
        self._database = database
        self._sender = sender
        self._encode = encode
        self._poll_s = poll_s
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._backoff_s = backoff_s
        self._concurrency = concurrency
        self._attempts = Counter(
            "rag_webhook_attempts",
            "Attempts to deliver a webhook, by how they ended",
            ["outcome"],
            registry=registry or CollectorRegistry(),
        )
        self._due = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        database.on_jobs_changed(self._notice)

    async def run(self) -> None:
        """Send until cancelled. Attempts that are cut off are made again by whoever claims them next."""
        try:
            while True:
                self._due.clear()
                try:
                    await self.begin()
                except RagError as error:
                    log.warning("webhooks cannot be claimed, will be tried again", reason=error.reason)
                    await asyncio.sleep(_AFTER_FAILURE_S)
                    continue
                await self._wait()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def begin(self) -> int:
        """Claim what is due, as far as there is room, and begin to send it; return how many that are."""
        room = self._concurrency - len(self._running)
        if room <= 0:
            return 0
        async with self._database.transaction() as tx:
            claimed = await tx.webhooks.claim(limit=room, lease_s=self._lease_s)
        for delivery in claimed:
            task = asyncio.create_task(self._deliver(delivery), name="webhook")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return len(claimed)

    async def _wait(self) -> None:
        """Wait until there may be something to do: room again, a job that has ended, or the next look."""
        if len(self._running) >= self._concurrency:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return
        try:
            async with asyncio.timeout(self._poll_s):
                await self._due.wait()
        except TimeoutError:
            return

    async def _deliver(self, delivery: WebhookDelivery) -> None:
        tenant_id = delivery.tenant_id
        try:
            async with self._database.snapshot() as tx:
                ended = await tx.jobs.events_after(
                    tenant_id, delivery.job_id, delivery.job_sequence - 1, limit=1
                )
            attempt = await self._sender.send(delivery.webhook, delivery.id, self._encode(delivery, ended[0]))
            retry_s = self._retry_s(delivery, attempt)
            async with self._database.transaction() as tx:
                await tx.webhooks.record(tenant_id, delivery, attempt, retry_s=retry_s)
        except NotFound:
            return  # the job is gone, and its deliveries with it
        except RagError as error:
            # what was sent cannot be recorded: it is sent again, under the same id, when the claim has ended
            log.warning("webhook cannot be recorded", reason=error.reason, job=delivery.job_id)
            return
        outcome = "delivered" if not attempt.reason else "failed" if retry_s is None else "retried"
        self._attempts.labels(outcome).inc()
        log.info(
            "webhook sent",
            outcome=outcome,
            job=delivery.job_id,
            delivery=delivery.id,
            host=urlsplit(delivery.webhook.url).hostname,  # the rest of the address may hold a secret
            http_status=attempt.http_status,
            reason=attempt.reason or None,
            attempt=delivery.attempt_count,
        )

    def _retry_s(self, delivery: WebhookDelivery, attempt: Attempt) -> float | None:
        if not attempt.reason or attempt.is_final or delivery.attempt_count >= self._max_attempts:
            return None
        backoff_s = min(self._backoff_s * 2.0 ** (delivery.attempt_count - 1), _MAX_BACKOFF_S)
        return backoff_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret

    def _notice(self, changed: Sequence[Job]) -> None:
        if any(job.webhook is not None and job.state.is_final for job in changed):
            self._due.set()
