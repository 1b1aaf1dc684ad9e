"""The bodies of webhooks."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson

from rag.v1 import webhook_pb2
from rag_server.domain.job import Job
from rag_server.domain.webhook import WebhookDelivery
from rag_server.services.wire.job import to_job
from rag_server.services.wire.metadata import to_timestamp


def event_body(delivery: WebhookDelivery, job: Job) -> bytes:
    """Return the body of a delivery of `job` as it ended; the same for each attempt."""
    event = webhook_pb2.WebhookEvent(
        delivery_id=delivery.id, job=to_job(job), create_time=to_timestamp(delivery.create_time)
    )
    return MessageToJson(event, indent=None, ensure_ascii=False).encode()
