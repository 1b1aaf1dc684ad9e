"""Chooses who searches a collection: its copy in memory where there is one, else the chunk store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Final

from rag_server.backends.protocols import ChunkStore
from rag_server.domain.collection import Collection
from rag_server.query.patient_retriever import PatientRetriever
from rag_server.query.resident.collection import ResidentCollection
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.pool import ResidentPool
from rag_server.query.resident.retriever import ResidentRetriever
from rag_server.query.retriever import Retriever
from rag_server.query.store_retriever import StoreRetriever, Visibility

_PATIENCE_S: Final = 1.0
"""A snapshot is mapped, and a small collection read, within this."""


class Engines:
    """Hands out retrievers; both kinds give the same answer, one of them sooner."""

    def __init__(
        self,
        pool: ResidentPool,
        store: ChunkStore,
        visibility: Visibility,
        head_revision: Callable[[str], int | None],
        masks: MaskCache,
        executor: Executor,
        *,
        overfetch: float,
        slow_store_chunks: int | None = None,
    ) -> None:
        """Take the parts.

        `slow_store_chunks`: larger collections on their way into memory are not asked of the store.
        """
        self._pool = pool
        self._store = store
        self._visibility = visibility
        self._head_revision = head_revision
        self._masks = masks
        self._executor = executor
        self._overfetch = overfetch
        self._slow_store_chunks = slow_store_chunks

    def retriever_for(self, collection: Collection) -> Retriever:
        """Return who searches `collection` now."""
        resident = self._pool.get(collection)
        if resident is not None:
            return self._in_memory(resident, collection)
        # the metadata is asked after the search: the answer is of the latest revision known, or a later one
        known = max(collection.revision, self._head_revision(collection.uid) or 0)
        current = replace(collection, revision=known)
        store = StoreRetriever(current, self._store, self._visibility, overfetch=self._overfetch)
        is_slow = self._slow_store_chunks is not None and collection.chunk_count > self._slow_store_chunks
        return PatientRetriever(store, partial(self._built, collection), None if is_slow else _PATIENCE_S)

    async def _built(self, collection: Collection, patience_s: float | None) -> Retriever | None:
        resident = await self._pool.built(collection.uid, patience_s)
        return None if resident is None else self._in_memory(resident, collection)

    def _in_memory(self, resident: ResidentCollection, collection: Collection) -> Retriever:
        return ResidentRetriever(resident, collection, self._head_revision, self._masks, self._executor)
