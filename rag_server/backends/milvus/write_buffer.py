"""When the write buffer of Milvus Lite is moved to disk. Servers do this on their own."""

from __future__ import annotations

from functools import partial

import structlog

from rag_server.backends.milvus.calls import CollectionCalls
from rag_server.backends.milvus.connection import Connection
from rag_server.errors import Unavailable

_log = structlog.get_logger(__name__)
_FLUSH_ROWS = 1_000
"""Searching what is still in the buffer costs 50 to 100 times as much as searching what is on disk."""


class WriteBuffer:
    """Knows what may be in the buffer of each collection. Does nothing when `is_ours` is false."""

    def __init__(self, connection: Connection, calls: CollectionCalls, *, is_ours: bool) -> None:
        self._connection = connection
        self._calls = calls
        self._is_ours = is_ours
        self._rows: dict[str, int] = {}
        """No entry: unknown, since an engine that was killed finds its buffer again."""

    async def add(self, name: str, rows: int) -> None:
        """Take note of rows that were written."""
        if self._is_ours:
            self._rows[name] = self._rows.get(name, 0) + rows
            if self._rows[name] >= _FLUSH_ROWS:
                await self._flush(name)

    async def settle(self, name: str) -> None:
        """Have no rows in the buffer, if that is possible now.

        A lexical search with a condition needs it: Milvus Lite takes the statistics of BM25 on disk from all
        rows, but in the buffer from those that satisfy the condition.
        """
        if not self._is_ours or self._rows.get(name) == 0:
            return
        try:
            await self._flush(name)
        except Unavailable:  # logged where it was raised; inexact scores are better than none
            _log.warning("bm25 scores of what was written last are inexact")

    def forget(self, name: str) -> None:
        """Take note that a collection was dropped."""
        self._rows.pop(name, None)

    async def _flush(self, name: str) -> None:
        rows = self._rows.get(name, 0)
        await self._calls.write(name, "flush", partial(self._connection.client.flush, name))
        # what was added while this waited for its turn may have come too late
        self._rows[name] = self._rows.get(name, 0) - rows
