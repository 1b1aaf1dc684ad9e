"""Webhooks, over gRPC, to a server on loopback, which a setting allows."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rag.v1 import ingest_service_pb2 as ingest_pb
from tests.rag_client import RagClient, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = b"0123456789abcdef"


@dataclass
class Receiver:
    """Answers with the statuses it is told, then with 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(told.statuses.pop(0) if told.statuses else 204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        told.url = f"http://127.0.0.1:{httpd.server_port}/hook"
        yield told
        httpd.shutdown()
        thread.join()


async def settled(client: RagClient, job_id: str) -> ingest_pb.Job:
    """Wait until the webhook of a job is delivered or given up."""
    async with asyncio.timeout(60):
        while True:
            job = (await client.ingest.GetJob(ingest_pb.GetJobRequest(job_id=job_id))).job
            if job.webhook_delivery.state > ingest_pb.WEBHOOK_DELIVERY_STATE_PENDING:
                return job
            await asyncio.sleep(0.05)


async def test_end_of_a_job_is_posted_signed_and_again_until_it_is_taken(
    client: RagClient, collection: str, receiver: Receiver
) -> None:
    receiver.statuses = [503, 500]
    hook = ingest_pb.Webhook(url=receiver.url, secret_name="billing")
    job = await client.submit(collection, "The heron waits.", "heron", webhook=hook)
    assert not job.HasField("webhook_delivery")
    shown = await settled(client, job.id)
    delivery = shown.webhook_delivery
    assert delivery.state == ingest_pb.WEBHOOK_DELIVERY_STATE_DELIVERED
    assert (delivery.attempt_count, delivery.http_status, delivery.reason) == (3, 204, "")
    assert len({body for _, body in receiver.got}) == 1
    for headers, body in receiver.got:
        timestamp, _, given = headers["x-rag-signature"].partition(",v1=")
        signed = timestamp.removeprefix("t=").encode() + b"." + body
        assert given == hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
        assert headers["x-rag-delivery"] == delivery.id
    told = json.loads(receiver.got[0][1])
    assert told["deliveryId"] == delivery.id
    assert told["job"]["id"] == job.id
    assert told["job"]["state"] == "JOB_STATE_SUCCEEDED"
    assert told["job"]["progress"]["chunkCount"] == 1
    assert SECRET.decode() not in str(shown)


async def test_job_that_fails_is_told_with_its_reason(
    client: RagClient, collection: str, receiver: Receiver
) -> None:
    hook = ingest_pb.Webhook(url=receiver.url, secret_name="billing")
    job = await client.submit(collection, data=b"%PDF-1.7 broken", document_id="bad", webhook=hook)
    await settled(client, job.id)
    ((_, body),) = receiver.got
    told = json.loads(body)["job"]
    assert (told["state"], told["error"]["reason"]) == ("JOB_STATE_FAILED", "DOCUMENT_CORRUPT")


@pytest.mark.parametrize(
    ("hook", "path", "reason"),
    [
        (
            {"url": "https://a.example", "secret_name": "none"},
            "webhook.secret_name",
            "WEBHOOK_SECRET_UNKNOWN",
        ),
        ({"url": "ftp://a.example", "secret_name": "billing"}, "webhook.url", "UNSUPPORTED_URI_SCHEME"),
        ({"url": "https://u:p@a.example", "secret_name": "billing"}, "webhook.url", "URI_INVALID"),
        ({"url": "https://", "secret_name": "billing"}, "webhook.url", "URI_INVALID"),
        ({"url": "https://a.example"}, "webhook.secret_name", "INVALID_REQUEST"),
    ],
)
async def test_webhook_that_cannot_work_is_refused(
    client: RagClient, collection: str, hook: dict[str, Any], path: str, reason: str
) -> None:
    call = client.submit(collection, "A heron.", webhook=ingest_pb.Webhook(**hook))
    refused = await failure(call)
    assert (refused.reason, list(refused.violations)) == (reason, [path])
