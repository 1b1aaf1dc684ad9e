"""How rows become records, and where the end of a job is told."""

from __future__ import annotations

from rag.v1 import ingest_service_pb2, records_pb2
from rag_server.domain.records import LIST_SEPARATOR, RecordField, RecordMapping
from rag_server.domain.webhook import DeliveryState, Webhook, WebhookDelivery
from rag_server.services.wire.metadata import from_type, to_timestamp

_STATES = {
    DeliveryState.PENDING: ingest_service_pb2.WEBHOOK_DELIVERY_STATE_PENDING,
    DeliveryState.DELIVERED: ingest_service_pb2.WEBHOOK_DELIVERY_STATE_DELIVERED,
    DeliveryState.FAILED: ingest_service_pb2.WEBHOOK_DELIVERY_STATE_FAILED,
}


def from_records(message: records_pb2.Records) -> RecordMapping:
    """Return the mapping with its defaults filled in."""
    return RecordMapping(
        template=message.template,
        fields=tuple(
            RecordField(
                column=field.column,
                field=field.field or field.column,
                type=from_type(field.type),
                is_optional=field.is_optional,
                separator=field.separator or LIST_SEPARATOR,
            )
            for field in message.fields
        ),
        key_column=message.key_column,
        sheet=message.sheet,
    )


def from_webhook(message: ingest_service_pb2.Webhook) -> Webhook:
    """Return where to tell the end of a job."""
    return Webhook(message.url, message.secret_name)


def to_delivery(delivery: WebhookDelivery) -> ingest_service_pb2.WebhookDelivery:
    """Return a delivery as a message: without its address, which may hold what is nobody else's business."""
    is_pending = delivery.state is DeliveryState.PENDING
    return ingest_service_pb2.WebhookDelivery(
        id=delivery.id,
        state=_STATES[delivery.state],
        attempt_count=delivery.attempt_count,
        http_status=delivery.http_status,
        reason=delivery.reason,
        next_attempt_time=to_timestamp(delivery.next_attempt_time) if is_pending else None,
    )
