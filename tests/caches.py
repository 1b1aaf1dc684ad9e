"""A Redis that tests may use: every test has keys of its own on it, and deletes what it has kept."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

REDIS_URL = os.environ.get("RAG_TEST_REDIS_URL") or "redis://127.0.0.1:6379/0"
"""Redis, 6.2 or later. Read now: later, tests see no `RAG_` variables."""


@asynccontextmanager
async def own_keys() -> AsyncIterator[tuple[str, Redis]]:
    """Give a prefix that nobody else has, and a client; delete afterwards what was kept under it."""
    prefix = f"ragtest-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    async with Redis.from_url(REDIS_URL) as redis:
        try:
            yield prefix, redis
        finally:
            async for key in redis.scan_iter(f"{prefix}:*", count=1000):
                await redis.delete(key)
