"""The resident engine: searches a collection in memory, after it has caught up with what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from rag_server.domain.collection import Collection
from rag_server.query.resident.collection import ResidentCollection
from rag_server.query.resident.found import ResidentFound
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.search import search
from rag_server.query.retriever import Found, Probe


class ResidentRetriever:
    """`Retriever` over one collection in memory.

    Args:
        resident: Loaded.
        collection: As it is now.
        head_revision: Returns the latest revision that is known of a uid: a search sees at least that.
        masks: Kept between searches.
        executor: Where it computes.
    """

    def __init__(
        self,
        resident: ResidentCollection,
        collection: Collection,
        head_revision: Callable[[str], int | None],
        masks: MaskCache,
        executor: Executor,
    ) -> None:
        self._resident = resident
        self._collection = collection
        self._head_revision = head_revision
        self._masks = masks
        self._executor = executor

    async def search(self, probes: Sequence[Probe]) -> list[Found]:
        head = max(self._collection.revision, self._head_revision(self._collection.uid) or 0)
        is_current = await self._resident.catch_up(head)
        state = self._resident.state
        hits = await asyncio.get_running_loop().run_in_executor(
            self._executor, search, state, probes, self._collection.bm25, self._masks
        )
        return [
            ResidentFound(self._collection, state, probe, each, is_stale=not is_current)
            for probe, each in zip(probes, hits, strict=True)
        ]
