from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from rag_server.domain.collection import NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobError, JobState
from rag_server.domain.webhook import Attempt, DeliveryState, Webhook, WebhookDelivery
from rag_server.ingest.webhook_relay import WebhookRelay
from rag_server.metadata.database import Database
from rag_server.services.wire.webhook import event_body

TENANT = "acme"
HOOK = Webhook("https://acme.example/hook", "billing")
REFUSED = Attempt(500, "WEBHOOK_REFUSED", is_final=False)
FINE = Attempt(http_status=200)


@dataclass
class Answers:
    """A sender that answers as it is told, and keeps what it was given."""

    attempts: list[Attempt] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    at_once: int = 0
    most_at_once: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, webhook: Webhook, delivery_id: str, body: bytes) -> Attempt:
        self.sent.append((delivery_id, body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.began.set()
        if self.gate is not None:
            await self.gate.wait()
        self.at_once -= 1
        return self.attempts.pop(0) if self.attempts else FINE


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url)
    async with opened.transaction() as tx:
        await tx.collections.create(TENANT, NewCollection("books"), embedding_model="m", dimension=4)
    yield opened
    await opened.close()


async def end_job(database: Database, document_id: str = "doc", webhook: Webhook | None = HOOK) -> Job:
    async with database.transaction() as tx:
        collection = await tx.collections.get(TENANT, "books")
        job = await tx.jobs.create(
            TENANT,
            collection.uid,
            NewDocument("books", document_id),
            chunking=TokenChunking(),
            webhook=webhook,
        )
    error = JobError("DOCUMENT_CORRUPT", "it is damaged")
    async with database.transaction() as tx:
        return await tx.jobs.change(TENANT, job.id, state=JobState.FAILED, error=error)


def make_relay(database: Database, sender: Answers, **options: Any) -> WebhookRelay:
    options = {
        "poll_s": 0.01,
        "lease_s": 60.0,
        "max_attempts": 3,
        "backoff_s": 0.01,
        "concurrency": 4,
        **options,
    }
    return WebhookRelay(database, sender, event_body, **options)


@asynccontextmanager
async def running(*relays: WebhookRelay) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        async with asyncio.timeout(30):
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def settled(database: Database, job: Job) -> WebhookDelivery:
    while True:
        async with database.snapshot() as tx:
            delivery = await tx.webhooks.of_job(TENANT, job.id)
        if delivery is not None and delivery.state is not DeliveryState.PENDING:
            return delivery
        await asyncio.sleep(0.01)


async def test_end_of_a_job_is_told_with_what_it_ended_as(database: Database) -> None:
    sender, registry = Answers(), CollectorRegistry()
    async with running(make_relay(database, sender, registry=registry)):
        job = await end_job(database)
        delivery = await settled(database, job)
    assert (delivery.state, delivery.attempt_count, delivery.http_status) == (DeliveryState.DELIVERED, 1, 200)
    ((delivery_id, body),) = sender.sent
    told = json.loads(body)
    assert (told["deliveryId"], told["job"]["id"]) == (delivery.id, job.id) == (delivery_id, job.id)
    assert told["job"]["state"] == "JOB_STATE_FAILED"
    assert told["job"]["error"] == {"reason": "DOCUMENT_CORRUPT", "message": "it is damaged"}
    assert "billing" not in body.decode()
    assert registry.get_sample_value("rag_webhook_attempts_total", {"outcome": "delivered"}) == 1


async def test_refused_delivery_is_sent_again_as_it_was(database: Database) -> None:
    sender = Answers([REFUSED, REFUSED])
    async with running(make_relay(database, sender)):
        delivery = await settled(database, await end_job(database))
    assert (delivery.state, delivery.attempt_count) == (DeliveryState.DELIVERED, 3)
    assert len(set(sender.sent)) == 1


async def test_delivery_that_is_refused_too_often_is_given_up(database: Database) -> None:
    sender = Answers([REFUSED] * 9)
    async with running(make_relay(database, sender)):
        delivery = await settled(database, await end_job(database))
        await asyncio.sleep(0.1)
    assert (delivery.state, delivery.reason) == (DeliveryState.FAILED, "WEBHOOK_REFUSED")
    assert len(sender.sent) == delivery.attempt_count == 3


async def test_attempt_that_is_final_is_not_repeated(database: Database) -> None:
    sender = Answers([Attempt(None, "URI_FORBIDDEN_ADDRESS")])
    async with running(make_relay(database, sender)):
        delivery = await settled(database, await end_job(database))
    assert (delivery.state, delivery.reason) == (DeliveryState.FAILED, "URI_FORBIDDEN_ADDRESS")
    assert len(sender.sent) == 1


async def test_of_several_relays_one_sends(database: Database) -> None:
    senders = [Answers(), Answers(), Answers()]
    async with running(*(make_relay(database, sender) for sender in senders)):
        jobs = [await end_job(database, f"doc{number}") for number in range(6)]
        for job in jobs:
            await settled(database, job)
        await asyncio.sleep(0.05)
    sent = [delivery_id for sender in senders for delivery_id, _ in sender.sent]
    assert len(sent) == len(set(sent)) == 6


async def test_delivery_of_a_relay_that_died_is_made_by_another(database: Database) -> None:
    dying = Answers(gate=asyncio.Event())
    async with running(make_relay(database, dying, lease_s=0.2)):
        job = await end_job(database)
        await dying.began.wait()
    heir = Answers()
    async with running(make_relay(database, heir)):
        delivery = await settled(database, job)
    assert (delivery.state, delivery.attempt_count) == (DeliveryState.DELIVERED, 2)
    assert heir.sent == dying.sent


async def test_attempts_at_once_are_bounded_and_all_come_about(database: Database) -> None:
    sender = Answers(gate=asyncio.Event())
    jobs = [await end_job(database, f"doc{number}") for number in range(5)]
    async with running(make_relay(database, sender, concurrency=2)):
        await sender.began.wait()
        await asyncio.sleep(0.1)
        assert sender.gate is not None
        sender.gate.set()
        for job in jobs:
            await settled(database, job)
    assert sender.most_at_once == 2


async def test_job_that_was_revived_is_told_as_it_had_ended(database: Database) -> None:
    job = await end_job(database)
    async with database.transaction() as tx:
        row = await tx.jobs.row(TENANT, job.id)
        row.fetch_uri = "https://acme.example/doc"
        await tx.revival.revive(TENANT, job.id)
    sender = Answers()
    async with running(make_relay(database, sender)):
        await settled(database, job)
    assert json.loads(sender.sent[0][1])["job"]["state"] == "JOB_STATE_FAILED"


async def test_log_names_the_host_and_not_the_rest_of_the_address(database: Database) -> None:
    hook = Webhook("https://acme.example/hook?token=hush", "billing")
    with capture_logs() as lines:
        async with running(make_relay(database, Answers([REFUSED]))):
            await settled(database, await end_job(database, webhook=hook))
            await asyncio.sleep(0.05)
    sent = [line for line in lines if line["event"] == "webhook sent"]
    assert [line["outcome"] for line in sent] == ["retried", "delivered"]
    assert {line["host"] for line in sent} == {"acme.example"}
    assert "hush" not in str(lines)


async def test_job_without_a_webhook_is_told_to_nobody(database: Database) -> None:
    sender = Answers()
    async with running(make_relay(database, sender)):
        await end_job(database, webhook=None)
        await settled(database, await end_job(database, "other"))
    assert len(sender.sent) == 1
