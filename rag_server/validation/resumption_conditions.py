"""Conditions over the fields by which an answer is resumed; `custom.CHECKS` says where they hold."""

from __future__ import annotations

from collections.abc import Iterator

from rag.v1 import generate_service_pb2
from rag_server.validation.finding import Finding


def cursor_is_of_a_resumable_answer(
    message: generate_service_pb2.StreamGenerateRequest,
) -> Iterator[Finding]:
    """Only a request that asks for an answer that can be resumed can resume it."""
    if message.resume_cursor and not message.HasField("resume_window_ms"):
        yield Finding(
            "resume_cursor", "cannot be set without resume_window_ms: repeat the request as it was, with it"
        )
