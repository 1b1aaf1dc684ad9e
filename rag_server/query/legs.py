"""The two legs of a search, held against one moment.

The chunk store knows nothing of revisions (`ChunkStore`): rows of a replaced, deleted or half-written
document revision may be among what it returns. The metadata decides, and it is asked once for both legs,
after they have ended: an answer never holds two revisions of a document, and a delete that was answered
before the search ended is never undone by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rag_server.concurrency import run_all
from rag_server.domain.collection import Collection
from rag_server.domain.retrieval import Candidate, Leg
from rag_server.timing import Stopwatch

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


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one round has found."""

    candidates: dict[Leg, list[Candidate]]
    """The visible ones, best first."""
    is_short: bool
    """Whether a leg has too few while the store may have more."""
    is_outdated: bool
    """Whether a document got a new revision after the store was searched."""


async def search_legs(
    searches: Mapping[Leg, Search],
    collections: Sequence[Collection],
    visibility: Visibility,
    watch: Stopwatch,
    *,
    count: int,
    overfetch: float,
) -> dict[Leg, list[Candidate]]:
    """Return the `count` best visible candidates of each leg over all `collections`, best first.

    A round asks the store for `overfetch` times as many. Another follows when too few of them are visible
    (it asks for more) or when a document was replaced meanwhile (its new revision is found then); both are
    rare, and the rounds are bounded. Should documents be replaced faster than they are searched, what is
    returned is still of one revision each.

    Scores of different collections are compared as they are: cosines of one model are comparable; BM25
    scores are so only as far as the collections' term statistics are alike.
    """
    limit = min(math.ceil(count * overfetch), _STORE_LIMIT)
    for _ in range(_ROUNDS):
        found = await _search_all(searches, collections, watch, limit)
        with watch.stage("verify"):
            verdict = await _verify(found, collections, visibility, count=count, limit=limit)
        if verdict.is_short and limit < _STORE_LIMIT:
            limit = min(limit * _GROWTH, _STORE_LIMIT)
        elif not verdict.is_outdated:
            break
    return {leg: _best(candidates, count) for leg, candidates in verdict.candidates.items()}


async def _search_all(
    searches: Mapping[Leg, Search], collections: Sequence[Collection], watch: Stopwatch, limit: int
) -> dict[Leg, list[list[Candidate]]]:
    """Return each leg's candidates, a list per collection."""

    async def run(leg: Leg, search: Search) -> list[list[Candidate]]:
        with watch.stage(leg):
            return await run_all(search(collection, limit) for collection in collections)

    found = await run_all(run(leg, search) for leg, search in searches.items())
    return dict(zip(searches, found, strict=True))


async def _verify(
    found: Mapping[Leg, Sequence[Sequence[Candidate]]],
    collections: Sequence[Collection],
    visibility: Visibility,
    *,
    count: int,
    limit: int,
) -> _Verdict:
    visible: dict[Leg, list[Candidate]] = {leg: [] for leg in found}
    is_short = is_outdated = False
    for index, collection in enumerate(collections):
        per_leg = {leg: lists[index] for leg, lists in found.items()}
        ids = {candidate.chunk.document_id for each in per_leg.values() for candidate in each}
        revisions: Mapping[str, int] = {}
        if ids:
            revisions = await visibility.visible_revisions(collection.tenant_id, collection.uid, sorted(ids))
        for leg, candidates in per_leg.items():
            kept = [each for each in candidates if _lead_of(revisions, each) == 0]
            visible[leg] += kept
            is_short |= len(kept) < count and len(candidates) >= limit
            is_outdated |= any(_lead_of(revisions, each) > 0 for each in candidates)
    return _Verdict(visible, is_short, is_outdated)


def _lead_of(revisions: Mapping[str, int], candidate: Candidate) -> int:
    """Return how far the visible revision is ahead of the candidate's; below 0: nobody may see it (yet)."""
    return revisions.get(candidate.chunk.document_id, -1) - candidate.chunk.document_revision


def _best(candidates: list[Candidate], count: int) -> list[Candidate]:
    return sorted(candidates, key=lambda each: (-each.score, each.chunk.id))[:count]
