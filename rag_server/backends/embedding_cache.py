"""An `Embedder` that remembers the vectors of queries.

Only interactive calls with one text are remembered: they are what callers repeat, while bulk work would
push them out. Equal texts that arrive at once are embedded once. Bounded in bytes, least recently used
first. Failures are never kept: the next call tries again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from rag_server.backends.protocols import Embedder, EmbeddingModel, Embeddings, Tokenizer
from rag_server.domain.cache import CacheFigures
from rag_server.domain.priority import Priority
from rag_server.errors import Unavailable

DEFAULT_MAX_BYTES = 16 * 2**20
"""About 8 000 queries of 60 characters with 384 dimensions."""
_ENTRY_OVERHEAD_BYTES = 400
"""Of the key's tuple, the array's object and the cache's own tables, by `tracemalloc`."""

_Key = tuple[str, str]
"""Model id and text."""


class EmbeddingCache:
    """Wraps an `Embedder` and is one; `close` closes the wrapped one. For one event loop.

    A vector may be shared by many callers: arrays of remembered texts are read-only.

    Example:
        embedder = EmbeddingCache(await OnnxEmbedder.create())
        vectors = await embedder.embed(["how are chunks cut?"])
    """

    def __init__(self, embedder: Embedder, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Remember vectors of `embedder` within `max_bytes`, keys included; 0 remembers nothing."""
        self._embedder = embedder
        self._entries: LRUCache[_Key, _Entry] = LRUCache(max_bytes, getsizeof=lambda entry: entry.size_bytes)
        self._flights: dict[_Key, _Flight] = {}
        self._hits = 0
        self._misses = 0
        self._is_closed = False

    @property
    def model(self) -> EmbeddingModel:
        return self._embedder.model

    @property
    def tokenizer(self) -> Tokenizer:
        return self._embedder.tokenizer

    def figures(self) -> CacheFigures:
        """Return how the cache fares. A hit is also a call answered by another one's computation."""
        return CacheFigures(
            entry_count=len(self._entries),
            size_bytes=int(self._entries.currsize),
            limit_bytes=int(self._entries.maxsize),
            hit_count=self._hits,
            miss_count=self._misses,
        )

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        if self._is_closed:
            raise Unavailable("EMBEDDER_UNAVAILABLE", "the embedder is closed: the server is stopping")
        if len(texts) != 1 or priority is not Priority.INTERACTIVE:
            return await self._embedder.embed(texts, priority=priority)
        key = (self._embedder.model.id, texts[0])
        if (known := self._entries.get(key)) is not None:
            self._hits += 1
            return known.vectors
        flight = self._flights.get(key)
        if flight is None:
            self._misses += 1
            flight = self._flights[key] = _Flight(asyncio.create_task(self._fill(key)))
        else:
            self._hits += 1
        return await self._wait(key, flight)

    async def close(self) -> None:
        self._is_closed = True
        await self._embedder.close()
        self._entries.clear()

    async def _wait(self, key: _Key, flight: _Flight) -> Embeddings:
        """Wait for a computation; whoever is the last to leave it stops it."""
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # whoever asks from now on starts anew
                del self._flights[key]
                flight.task.cancel()

    async def _fill(self, key: _Key) -> Embeddings:
        task = asyncio.current_task()
        try:
            vectors = await self._embedder.embed([key[1]])
        finally:
            # unless it was given up and another has started since
            if (flight := self._flights.get(key)) is not None and flight.task is task:
                del self._flights[key]
        # its own memory: a view would keep a larger array alive
        vectors = vectors.copy()
        vectors.flags.writeable = False
        size_bytes = _ENTRY_OVERHEAD_BYTES + sys.getsizeof(key[1]) + vectors.nbytes
        if not self._is_closed and size_bytes <= self._entries.maxsize:
            self._entries[key] = _Entry(vectors, size_bytes)
        return vectors


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A remembered result."""

    vectors: npt.NDArray[np.float32]
    """Shape `(1, d)`."""
    size_bytes: int
    """Key and bookkeeping included."""


@dataclass(eq=False, slots=True)
class _Flight:
    """One computation under way and how many callers wait for it."""

    task: asyncio.Task[Embeddings]
    waiting: int = 0
