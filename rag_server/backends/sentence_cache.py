"""An `Embedder` that remembers the vectors of sentences.

Questions differ, but the sentences that may answer them come again: each is embedded once while it is
remembered. Bounded in bytes, least recently used first. Failures are never kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from rag_server.backends.protocols import Embedder, EmbeddingModel, Embeddings, Tokenizer
from rag_server.domain.cache import CacheFigures
from rag_server.domain.priority import Priority

_ENTRY_OVERHEAD_BYTES = 300
"""Of the array's object and the cache's own tables."""


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    vector: npt.NDArray[np.float32]
    """Shape `(d,)`."""
    size_bytes: int


class SentenceCache:
    """Wraps an `Embedder`, which stays its owner's to close, and is one. For one event loop.

    What is asked for alone, or is all that is missing, is passed on as one text: a question, mostly, whose
    vector an `EmbeddingCache` knows from retrieval.

    Example:
        embedder = SentenceCache(embedder, max_bytes=64 * 2**20)
        vectors = await embedder.embed(["Chunks are cut at headings.", "They overlap."])
    """

    def __init__(self, embedder: Embedder, *, max_bytes: int) -> None:
        """Remember vectors of `embedder` within `max_bytes`, texts included; 0 remembers nothing."""
        self._embedder = embedder
        self._entries: LRUCache[str, _Entry] = LRUCache(max_bytes, getsizeof=lambda entry: entry.size_bytes)
        self._hits = 0
        self._misses = 0

    @property
    def model(self) -> EmbeddingModel:
        return self._embedder.model

    @property
    def tokenizer(self) -> Tokenizer:
        return self._embedder.tokenizer

    def figures(self) -> CacheFigures:
        """Return how the cache fares, counted in sentences."""
        return CacheFigures(
            entry_count=len(self._entries),
            size_bytes=int(self._entries.currsize),
            limit_bytes=int(self._entries.maxsize),
            hit_count=self._hits,
            miss_count=self._misses,
        )

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        if len(texts) <= 1:
            return await self._embedder.embed(texts, priority=priority)
        found = {text: entry.vector for text in texts if (entry := self._entries.get(text)) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        self._hits += len(found)
        self._misses += len(missing)
        if missing:
            vectors = await self._embedder.embed(missing, priority=priority)
            for text, vector in zip(missing, vectors, strict=True):
                found[text] = self._keep(text, vector)
        return np.stack([found[text] for text in texts])

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def _keep(self, text: str, vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        own = vector.copy()  # a view would keep the array of all alive
        size_bytes = _ENTRY_OVERHEAD_BYTES + sys.getsizeof(text) + own.nbytes
        if size_bytes <= self._entries.maxsize:
            self._entries[text] = _Entry(own, size_bytes)
        return own
