"""Answers kept in the memory of this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cachetools import TTLCache

from rag_server.domain.cache import CacheFigures

_ENTRY_BYTES: Final = 512
"""Objects of one entry, key and value apart."""

_Key = tuple[str, str]
"""Tenant and key."""


class MemoryAnswerStore:
    """An `AnswerStore`: least recently used first out, bounded in bytes and in time. For one event loop."""

    def __init__(
        self, limit_bytes: int, ttl_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep values within `limit_bytes` for up to `ttl_s` seconds of `clock`."""
        self._entries: TTLCache[_Key, tuple[bytes, int]] = TTLCache(
            limit_bytes, ttl_s, timer=clock, getsizeof=lambda entry: entry[1]
        )
        self._hits = 0
        self._misses = 0

    def figures(self) -> CacheFigures:
        """Return how the store fares."""
        return CacheFigures(
            entry_count=len(self._entries),
            size_bytes=int(self._entries.currsize),
            limit_bytes=int(self._entries.maxsize),
            hit_count=self._hits,
            miss_count=self._misses,
        )

    async def get(self, tenant_id: str, key: str) -> bytes | None:
        entry = self._entries.get((tenant_id, key))
        if entry is None:
            self._misses += 1
            return None
        self._hits += 1
        return entry[0]

    async def put(self, tenant_id: str, key: str, value: bytes) -> None:
        size_bytes = _ENTRY_BYTES + len(tenant_id) + len(key) + len(value)
        if size_bytes <= self._entries.maxsize:
            self._entries[tenant_id, key] = (value, size_bytes)
