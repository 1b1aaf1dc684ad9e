"""The last look at an answer: nothing of a document that was deleted while it was made may leave.

A document that was replaced meanwhile stays as it was: an answer is of one revision of its collection, and
says of which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.retrieval import Drop, Explanation, RetrievalResult, ScoredChunk
from rag_server.query.prepare import Query


class Visibility(Protocol):
    """Knows what readers may see now."""

    def head_revision(self, collection_uid: str) -> int | None:
        """Return the latest revision of a collection that this process knows of; None: it does not."""
        ...

    async def visible_revisions(
        self, tenant_id: str, collection_uid: str, document_ids: Sequence[str]
    ) -> Mapping[str, int]:
        """Return the visible revision of each of the documents that has one."""
        ...

    async def deleted_since(
        self, tenant_id: str, collection_uid: str, revision: int
    ) -> frozenset[str] | None:
        """Return the documents that were deleted after `revision`; None: nobody can tell any more."""
        ...


async def only_visible(visibility: Visibility, query: Query, result: RetrievalResult) -> RetrievalResult:
    """Return `result` itself when all of it may be seen now, else what is left of it.

    Free unless a collection has changed since it was searched.
    """
    kept = result.results
    for collection in query.collections:
        searched = result.collection_revisions[collection.id]
        if visibility.head_revision(collection.uid) == searched:
            continue
        own = [each.chunk for each in kept if each.chunk.collection_id == collection.id]
        gone = await _gone(visibility, query.tenant_id, collection, searched, own)
        kept = tuple(
            each
            for each in kept
            if each.chunk.collection_id != collection.id or each.chunk.document_id not in gone
        )
    if len(kept) == len(result.results):
        return result
    explanation = result.explanation and _corrected(result.explanation, kept)
    return replace(result, results=kept, explanation=explanation)


async def _gone(
    visibility: Visibility, tenant_id: str, collection: Collection, searched: int, chunks: Sequence[Chunk]
) -> frozenset[str]:
    """Return the documents of `chunks`, and perhaps others, that may not be seen any more."""
    if not chunks:
        return frozenset()
    # not by what is visible now: a document that was deleted and written again is gone, too
    deleted = await visibility.deleted_since(tenant_id, collection.uid, searched)
    if deleted is not None:
        return deleted
    ids = sorted({chunk.document_id for chunk in chunks})
    revisions = await visibility.visible_revisions(tenant_id, collection.uid, ids)
    return frozenset(
        chunk.document_id for chunk in chunks if revisions.get(chunk.document_id) != chunk.document_revision
    )


def _corrected(explanation: Explanation, kept: Iterable[ScoredChunk]) -> Explanation:
    """Tell of traced chunks that have left the results that they are not there any more."""
    ids = {scored.chunk.id for scored in kept}
    traces = (
        replace(trace, drop=Drop.ABSENT)
        if trace.drop is Drop.RETURNED and trace.chunk_id not in ids
        else trace
        for trace in explanation.traces
    )
    return replace(explanation, traces=tuple(traces))
