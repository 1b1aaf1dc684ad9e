"""The resident engine: searches a collection in memory, after it has caught up with what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

from rag_server.domain.collection import Collection
from rag_server.domain.lexical import LexicalQuery
from rag_server.query.resident.collection import ResidentCollection
from rag_server.query.resident.found import ResidentFound
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.search import search
from rag_server.query.resident.state import State
from rag_server.query.retriever import Found, Probe

INLINE_ROWS: Final = 32_768
"""A single probe on so few rows is answered on the event loop: at 20 000 it takes 1 ms, most of which holds
the interpreter's lock in any thread, and handing it to one costs up to 0.4 ms more. Rows that have died
count: they are read all the same."""
INLINE_TERMS: Final = 32
"""Terms up to which that holds: a query may have a thousand, and each is looked at several times over."""
INLINE_COUNT: Final = 200
"""Candidates up to which it does."""


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
        if _is_quick(state, probes):
            hits = search(state, probes, self._collection.bm25, self._masks)
        else:
            hits = await asyncio.get_running_loop().run_in_executor(
                self._executor, search, state, probes, self._collection.bm25, self._masks
            )
        return [
            ResidentFound(self._collection, state, probe, each, is_stale=not is_current)
            for probe, each in zip(probes, hits, strict=True)
        ]


def _is_quick(state: State, probes: Sequence[Probe]) -> bool:
    if len(probes) != 1 or sum(len(part.segment) for part in state.parts) > INLINE_ROWS:
        return False
    (probe,) = probes
    lexical = probe.lexical or LexicalQuery()
    # conditions are worked out row by row, once, and then kept: that may take longer
    has_conditions = probe.filter is not None or lexical.phrases or lexical.excluded
    return not has_conditions and len(lexical.terms) <= INLINE_TERMS and probe.count <= INLINE_COUNT
