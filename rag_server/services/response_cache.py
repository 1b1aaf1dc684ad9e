"""Answers to Retrieve that were given before: by the request and the revisions that answered it.

An entry holds the uid and the revision of every collection that was searched, and is given again only while
the directory knows of no later one: it can be neither stale nor, the tenant being part of the key, foreign.
Nothing has to be invalidated. Answers that are explained, or that a fault degraded, are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cachetools import LRUCache

from rag.v1 import retrieve_service_pb2 as pb
from rag.v1 import retrieved_chunk_pb2
from rag_server.domain.cache import CacheFigures
from rag_server.domain.collection import Collection

_ENTRY_BYTES: Final = 512
"""Objects of one entry, request and response apart."""
_PARSED: Final = 3
"""Bytes of a parsed message per byte on the wire, about."""

_WHOLE: Final = frozenset({retrieved_chunk_pb2.DEGRADATION_DENSE_ONLY})
"""Degradations that are the request's own (it has stop words only): no later answer is any better."""

_Key = tuple[str, bytes]
"""Tenant and request."""


class Directory(Protocol):
    """Knows the latest state of collections, from memory."""

    def peek(self, tenant_id: str, collection_id: str) -> Collection | None:
        """Return a collection as it is now; None: that is not known without asking the database."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    response: pb.RetrieveResponse
    searched: Mapping[str, tuple[str, int]]
    """By collection id: uid and revision."""
    size_bytes: int


class ResponseCache:
    """Least recently used first out, bounded in bytes. For one event loop."""

    def __init__(self, limit_bytes: int, directory: Directory) -> None:
        """Keep answers within `limit_bytes`; 0 keeps none."""
        self._directory = directory
        self._entries: LRUCache[_Key, _Entry] = LRUCache(
            limit_bytes, getsizeof=lambda entry: entry.size_bytes
        )
        self._hits = 0
        self._misses = 0

    def get(self, tenant_id: str, request: pb.RetrieveRequest) -> pb.RetrieveResponse | None:
        """Return a copy of the answer that a search would give now, without timings; None: search."""
        if request.options.HasField("explain") or not self._entries.maxsize:
            return None
        entry = self._entries.get(_key(tenant_id, request))
        if entry is None or entry.searched != self._latest(tenant_id, request):
            self._misses += 1
            return None
        self._hits += 1
        response = pb.RetrieveResponse()
        response.CopyFrom(entry.response)
        return response

    def put(
        self,
        tenant_id: str,
        request: pb.RetrieveRequest,
        response: pb.RetrieveResponse,
        collection_uids: Mapping[str, str],
    ) -> None:
        """Keep an answer, if it is whole and what it searched (uids by collection id) is still the latest."""
        if request.options.HasField("explain") or not _WHOLE.issuperset(response.degradations):
            return
        searched = {
            each.collection_id: (collection_uids[each.collection_id], each.revision)
            for each in response.collection_revisions
        }
        if searched != self._latest(tenant_id, request):
            return
        kept = pb.RetrieveResponse()
        kept.CopyFrom(response)
        kept.ClearField("timings")
        key = _key(tenant_id, request)
        size_bytes = _ENTRY_BYTES + len(key[1]) + _PARSED * kept.ByteSize()
        if size_bytes <= self._entries.maxsize:
            self._entries[key] = _Entry(kept, searched, size_bytes)

    def figures(self) -> CacheFigures:
        """Return how the cache fares."""
        entries = self._entries
        return CacheFigures(
            len(entries), int(entries.currsize), int(entries.maxsize), self._hits, self._misses
        )

    def _latest(self, tenant_id: str, request: pb.RetrieveRequest) -> dict[str, tuple[str, int]]:
        """Return uid and revision of each collection as they are now; one that is not known is left out."""
        known = ((name, self._directory.peek(tenant_id, name)) for name in request.collection_ids)
        return {name: (each.uid, each.revision) for name, each in known if each is not None}


def _key(tenant_id: str, request: pb.RetrieveRequest) -> _Key:
    return tenant_id, request.SerializeToString(deterministic=True)
