"""The two legs of a search: each finds candidates over all collections, and drops what nobody may see.

The chunk store knows nothing of revisions (`ChunkStore`): rows of a replaced, deleted or half-written
document revision may be among what it returns. The metadata decides, and it is asked after the search, so a
delete that was answered before the search ended is never undone by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from rag_server.concurrency import run_all
from rag_server.domain.collection import Collection
from rag_server.domain.retrieval import Candidate

Search = Callable[[Collection, int], Coroutine[Any, Any, list[Candidate]]]
"""Searches one collection for at most so many candidates."""

_GROWTH = 4
_ROUNDS = 4
_STORE_LIMIT = 16_384
"""Most rows that Milvus returns for one search."""


class Visibility(Protocol):
    """Knows which revision of each document readers see."""

    async def visible_revisions(
        self, tenant_id: str, collection_uid: str, document_ids: Sequence[str]
    ) -> Mapping[str, int]:
        """Return the visible revision of each of the documents that has one."""
        ...


async def find_candidates(
    search: Search,
    collections: Sequence[Collection],
    visibility: Visibility,
    *,
    count: int,
    overfetch: float,
) -> list[Candidate]:
    """Return the `count` best visible candidates over all `collections`, best first.

    Scores of different collections are compared as they are: cosines of one model are comparable; BM25
    scores are so only as far as the collections' term statistics are alike.
    """
    found = await run_all(
        _find_in(search, each, visibility, count=count, overfetch=overfetch) for each in collections
    )
    merged = [candidate for candidates in found for candidate in candidates]
    merged.sort(key=lambda candidate: (-candidate.score, candidate.chunk.id))
    return merged[:count]


async def _find_in(
    search: Search, collection: Collection, visibility: Visibility, *, count: int, overfetch: float
) -> list[Candidate]:
    limit = min(math.ceil(count * overfetch), _STORE_LIMIT)
    for _ in range(_ROUNDS):
        candidates = await search(collection, limit)
        document_ids = list({candidate.chunk.document_id for candidate in candidates})
        revisions = await visibility.visible_revisions(collection.tenant_id, collection.uid, document_ids)
        visible = [
            candidate
            for candidate in candidates
            if revisions.get(candidate.chunk.document_id) == candidate.chunk.document_revision
        ]
        if len(visible) >= count or len(candidates) < limit or limit == _STORE_LIMIT:
            break
        limit = min(limit * _GROWTH, _STORE_LIMIT)  # so many invisible rows are rare: a sweep is due
    return visible[:count]
