"""Searches a collection in the chunk store, held against one moment.

The chunk store knows nothing of revisions (`ChunkStore`): rows of a replaced, deleted or half-written
document revision may be among what it returns. The metadata decides, and it is asked once for all legs of all
probes, after they have ended: an answer never holds two revisions of a document, and a delete that was
answered before the search ended is never undone by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rag_server.backends.protocols import ChunkStore
from rag_server.concurrency import run_all
from rag_server.domain.collection import Collection
from rag_server.domain.retrieval import Leg
from rag_server.domain.stored import Hit
from rag_server.query.retriever import Found, Probe
from rag_server.query.store_found import Questions, StoreFound, Visibility, scope_of

__all__ = ["StoreRetriever", "Visibility"]

_GROWTH: Final = 4
_ROUNDS: Final = 4
_STORE_LIMIT: Final = 16_384
"""Most rows that Milvus returns for one search."""


@dataclass(slots=True)
class _Progress:
    """How far one probe has come."""

    probe: Probe
    limit: int
    """Rows to ask each leg for."""
    found: dict[Leg, list[Hit]]
    """What the legs returned last, best first; the key is missing of a leg that does not run."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the metadata makes of what one probe has found."""

    visible: dict[Leg, list[Hit]]
    is_short: bool
    """Whether a leg has too few while the store may have more."""
    is_outdated: bool
    """Whether a document got a new revision after the store was searched."""


class StoreRetriever:
    """`Retriever` that keeps nothing in memory. Makes one call of the store per leg and two to complete them.

    A round asks the store for `overfetch` times as many candidates as are wanted. Another follows for a probe
    of which too few are visible (it asks for more) or of which a document was replaced meanwhile (its new
    revision is found then); both are rare, and the rounds are bounded. Should documents be replaced faster
    than they are searched, what is returned is still of one revision each.

    Args:
        collection: What to search, as it was when the search began.
        store: Where.
        visibility: Which revisions count.
        overfetch: At least 1.
    """

    def __init__(
        self, collection: Collection, store: ChunkStore, visibility: Visibility, *, overfetch: float
    ) -> None:
        self._collection = collection
        self._store = store
        self._visibility = visibility
        self._overfetch = overfetch

    async def search(self, probes: Sequence[Probe]) -> list[Found]:
        """Answer `probes`, in order, all from one state. Raises `Unavailable`."""
        states = [
            _Progress(probe, min(math.ceil(probe.count * self._overfetch), _STORE_LIMIT), {})
            for probe in probes
        ]
        pending = states
        for _ in range(_ROUNDS):
            await run_all(self._search(state) for state in pending)
            # the last word on all probes is one reading of the metadata, also on those that were done before
            verdicts = await self._judge(states)
            pending = []
            for state, verdict in zip(states, verdicts, strict=True):
                may_grow = verdict.is_short and state.limit < _STORE_LIMIT
                if may_grow:
                    state.limit = min(state.limit * _GROWTH, _STORE_LIMIT)
                if may_grow or verdict.is_outdated:
                    pending.append(state)
            if not pending:
                break
        return [
            *await run_all(
                StoreFound.complete(
                    Questions(self._collection, self._store, state.probe), self._visibility, verdict.visible
                )
                for state, verdict in zip(states, verdicts, strict=True)
            )
        ]

    async def _search(self, state: _Progress) -> None:
        probe = state.probe
        scope = scope_of(probe)
        searches = {}
        if probe.vector is not None:
            searches[Leg.DENSE] = self._store.search_dense(
                self._collection, probe.vector, limit=state.limit, scope=scope
            )
        if probe.lexical is not None and probe.lexical.terms:
            searches[Leg.LEXICAL] = self._store.search_lexical(
                self._collection, probe.lexical.terms, limit=state.limit, scope=scope
            )
        found = await run_all(searches.values())
        state.found = dict(zip(searches, found, strict=True))

    async def _judge(self, states: Sequence[_Progress]) -> list[_Verdict]:
        ids = {hit.chunk.document_id for state in states for hits in state.found.values() for hit in hits}
        revisions: Mapping[str, int] = {}
        if ids:
            revisions = await self._visibility.visible_revisions(
                self._collection.tenant_id, self._collection.uid, sorted(ids)
            )
        return [_verdict(state, revisions) for state in states]


def _verdict(state: _Progress, revisions: Mapping[str, int]) -> _Verdict:
    count = state.probe.count
    visible: dict[Leg, list[Hit]] = {}
    is_short = is_outdated = False
    for leg, hits in state.found.items():
        kept = [hit for hit in hits if _lead_of(revisions, hit) == 0]
        is_short |= len(kept) < count and len(hits) >= state.limit
        is_outdated |= any(_lead_of(revisions, hit) > 0 for hit in hits)
        visible[leg] = kept[:count]
    return _Verdict(visible, is_short, is_outdated)


def _lead_of(revisions: Mapping[str, int], hit: Hit) -> int:
    """Return how far the visible revision is ahead of the hit's; below 0: nobody may see it (yet)."""
    return revisions.get(hit.chunk.document_id, -1) - hit.chunk.document_revision
