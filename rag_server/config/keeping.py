"""Settings of answers that are kept: for callers whose connection broke, and for the same question again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rag_server.config.group import Group


class AnswerSettings(Group):
    """Answers that are kept for a while."""

    max_resumable: Annotated[int, Field(ge=0)] = 256
    """Answers that callers can resume, at once; further ones cannot be resumed. 0: none can."""
    resume_buffer_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024
    """What is kept of each of them, its last events, in bytes."""
    cache_bytes: Annotated[int, Field(ge=0)] = 0
    """Memory for answers to questions that may come again; 0: none are kept, and none are shared."""
    cache_ttl_s: Annotated[float, Field(gt=0)] = 3600.0
    """How long such an answer is kept, in seconds."""
