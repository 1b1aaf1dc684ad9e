"""The server's limits."""

from __future__ import annotations

from rag.v1 import admin_service_pb2
from rag_server.config import Settings


def to_limits(settings: Settings) -> admin_service_pb2.Limits:
    """Return what the server takes at most, as a message."""
    return admin_service_pb2.Limits(
        message_bytes=settings.server.max_message_bytes,
        document_bytes=settings.storage.max_document_bytes,
        concurrent_calls=settings.server.max_concurrent_calls,
        waiting_jobs=settings.ingest.max_waiting_jobs,
        archive_entries=settings.ingest.max_archive_entries,
        archive_bytes=settings.ingest.max_archive_bytes,
        open_uploads=settings.ingest.max_open_uploads,
        conversations=settings.conversations.max_conversations,
        conversation_messages=settings.conversations.max_messages,
    )
