"""A collection on its way into memory: waited for, for a moment or to the end, else searched in the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from rag_server.errors import Unavailable
from rag_server.query.retriever import Found, Probe, Retriever

_log = structlog.get_logger(__name__)

Built = Callable[[float | None], Awaitable[Retriever | None]]
"""Waits so many seconds (None: however long) for a build; returns None when there is none, or it failed."""


class PatientRetriever:
    """`Retriever` that prefers the copy in memory where that is worth a wait.

    A snapshot is mapped within a second or so, and Milvus Lite needs longer than that to prepare itself for a
    large collection, of which it then holds a copy of its own.

    Args:
        store: Asked when the wait was in vain.
        built: The copy in memory.
        patience_s: How long to wait before the store is asked; None: till the end of the build.
    """

    def __init__(self, store: Retriever, built: Built, patience_s: float | None) -> None:
        self._store = store
        self._built = built
        self._patience_s = patience_s

    async def search(self, probes: Sequence[Probe]) -> list[Found]:
        """Answer `probes`. Raises `Unavailable` when neither can."""
        resident = await self._built(self._patience_s)
        if resident is not None:
            return await resident.search(probes)
        try:
            return await self._store.search(probes)
        except Unavailable as error:
            resident = await self._built(None)
            if resident is None:
                raise
            _log.info("answered from memory, the store failed", reason=error.reason)
            return await resident.search(probes)
