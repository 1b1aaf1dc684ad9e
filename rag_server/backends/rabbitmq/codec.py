"""Messages as bytes. A field that is not known is passed over; what must be known raises the version.

Written is always the version below, read is every version up to it (`tests/.../test_codec.py` keeps bytes
of each).
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from rag.internal.v1 import job_message_pb2 as pb
from rag_server.backends.protocols import JobMessage, ServerEvents
from rag_server.domain.change import CollectionChange
from rag_server.domain.priority import Priority

VERSION = 1


class Unreadable(Exception):
    """These bytes are no message of ours, or one that names no job."""


class TooNew(Exception):
    """A later release wrote this, and says that we must not act on it."""


def encode_job(message: JobMessage) -> bytes:
    """Return the message as bytes."""
    encoded = pb.JobMessage(
        version=VERSION,
        tenant_id=message.tenant_id,
        job_id=message.job_id,
        priority=int(message.priority),
        trace_parent=message.trace_parent,
    )
    encoded.publish_time.GetCurrentTime()
    return encoded.SerializeToString()


def decode_job(body: bytes) -> JobMessage:
    """Return the message. Raises `Unreadable` and `TooNew`."""
    message = pb.JobMessage()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise Unreadable from error
    if message.version > VERSION:
        raise TooNew
    if not (message.version and message.tenant_id and message.job_id):
        raise Unreadable
    priority = Priority.BULK if message.priority else Priority.INTERACTIVE
    return JobMessage(message.tenant_id, message.job_id, priority, message.trace_parent)


def encode_events(events: ServerEvents) -> bytes:
    """Return the events as bytes."""
    encoded = pb.ServerEvent(version=VERSION)
    for tenant_id, job_id in events.jobs:
        encoded.jobs.add(tenant_id=tenant_id, job_id=job_id)
    for change in events.collections:
        encoded.collections.add(
            tenant_id=change.tenant_id,
            collection_id=change.collection_id,
            collection_uid=change.collection_uid,
            revision=change.revision,
        )
    return encoded.SerializeToString()


def decode_events(body: bytes) -> ServerEvents:
    """Return the events. Raises `Unreadable` and `TooNew`."""
    message = pb.ServerEvent()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise Unreadable from error
    if message.version > VERSION:
        raise TooNew
    if not message.version:
        raise Unreadable
    collections = [
        CollectionChange(
            each.tenant_id,
            each.collection_id,
            each.collection_uid,
            each.revision if each.HasField("revision") else None,
        )
        for each in message.collections
    ]
    return ServerEvents([(each.tenant_id, each.job_id) for each in message.jobs], collections)
