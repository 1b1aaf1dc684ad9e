"""Settings of answers that are kept: for callers whose connection broke, and for the same question again."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

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
    cache_url: SecretStr = SecretStr("")
    """`redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://`, of a Redis in which servers share such
    answers, whatever `cache_bytes` is (needs the extra `redis`); empty: each keeps its own. Never logged."""
    cache_prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "rag"
    """What the keys in Redis begin with: deployments that share a database have to differ in it."""
    cache_timeout_s: Annotated[float, Field(gt=0, le=10)] = 0.25
    """Longest wait for Redis, in seconds; then the model is asked."""

    @field_validator("cache_url")
    @classmethod
    def _check_cache_url(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text and not _is_address(text):
            raise ValueError("has to be redis://HOST:PORT/DATABASE or rediss://HOST:PORT/DATABASE")
        return url


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        database = parts.path.removeprefix("/")
        return (
            parts.scheme in {"redis", "rediss"}
            and bool(parts.hostname)
            and parts.port != 0
            and (not database or database.isdecimal())
            and not parts.query
        )
    except ValueError:
        return False
