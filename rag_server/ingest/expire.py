"""Forgets idempotency records that are older than the contract remembers them."""

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

    def __init__(self, database: Database, ttl_s: float) -> None:
        self._database = database
        self._ttl_s = ttl_s

    async def run(self) -> None:
        """Expire until cancelled."""
        while True:
            try:
                await self.expire()
            except RagError as error:
                log.warning("expiry failed, will be tried again", reason=error.reason)
            await asyncio.sleep(self._ttl_s / _ROUNDS_PER_TTL)

    async def expire(self) -> None:
        """Forget the records that are too old now."""
        async with self._database.transaction() as tx:
            await tx.idempotency.expire(datetime.now(UTC) - timedelta(seconds=self._ttl_s))
