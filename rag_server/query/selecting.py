"""Which documents of a collection a filter selects, evaluated on our side over what the metadata says.

The chunk store is not asked: it holds chunks, not documents, and may lag behind. The meaning is that of
retrieval (`rag_server.query.resident.filter_mask`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rag_server.domain.collection import Collection
from rag_server.domain.document import DocumentHead
from rag_server.domain.filter import Filter
from rag_server.metadata.database import Transaction
from rag_server.query.resident.columns import DocumentColumns
from rag_server.query.resident.filter_mask import matching

_PAGE = 2_000
"""Heads read and looked at in one go: a few MB."""


@dataclass(frozen=True, slots=True)
class Selected:
    """Documents that match."""

    count: int
    """All of them."""
    first_ids: list[str]
    """The first of them, by id."""


async def select_documents(
    tx: Transaction, collection: Collection, filter: Filter, *, limit: int
) -> Selected:
    """Return the documents that match a checked filter, and the ids of the first `limit`; page by page."""
    tenant_id, uid = collection.tenant_id, collection.uid
    count, first, after_id = 0, list[str](), ""
    while page := await tx.documents.scan(tenant_id, uid, after_id=after_id, limit=_PAGE):
        found = await asyncio.to_thread(matching_ids, page, filter)
        count += len(found)
        first += found[: limit - len(first)]
        after_id = page[-1].id
    return Selected(count, first)


def matching_ids(heads: Sequence[DocumentHead], filter: Filter) -> list[str]:
    """Return the ids of those of `heads` that match, in their order. CPU work of some milliseconds."""
    columns = DocumentColumns.of(
        [(head.id, head.media_type, head.source_uri, head.metadata) for head in heads]
    )
    return [head.id for head, is_match in zip(heads, matching(columns, filter), strict=True) if is_match]
