"""Forgets what is kept for a while only: idempotency records, the bytes of failed jobs, and uploads."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from rag_server.errors import RagError
from rag_server.metadata.database import Database

log = structlog.get_logger()

_ROUNDS_PER_TTL = 24


class Expirer:
    """Expires records at an interval that is a fraction of their life."""

    def __init__(self, database: Database, ttl_s: float, *, failed_ttl_s: float, upload_ttl_s: float) -> None:
        """Remember answers, the bytes of failed jobs, and idle uploads, each for so many seconds."""
        self._database = database
        self._ttl_s = ttl_s
        self._failed_ttl_s = failed_ttl_s
        self._upload_ttl_s = upload_ttl_s

    async def run(self) -> None:
        """Expire until cancelled."""
        while True:
            try:
                await self.expire()
            except RagError as error:
                log.warning("expiry failed, will be tried again", reason=error.reason)
            await asyncio.sleep(min(self._ttl_s, self._failed_ttl_s, self._upload_ttl_s) / _ROUNDS_PER_TTL)

    async def expire(self) -> None:
        """Forget what is too old now."""
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            await tx.idempotency.expire(now - timedelta(seconds=self._ttl_s))
        oldest = now - timedelta(seconds=self._failed_ttl_s)
        is_done = False
        while not is_done:
            async with self._database.transaction() as tx:
                is_done = not await tx.revival.forget(oldest)
        oldest = now - timedelta(seconds=self._upload_ttl_s)
        is_done = False
        while not is_done:
            async with self._database.transaction() as tx:
                is_done = not await tx.uploads.expire(oldest)
