"""Heads of documents: many at once, read by columns and decoded off the event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence

from sqlalchemy import Row, Select, Text, cast, select

from rag_server.domain.document import DocumentHead
from rag_server.metadata.codecs import metadata_from_json
from rag_server.metadata.session import IDS_PER_STATEMENT, Scope
from rag_server.metadata.tables import DocumentRow, metadata

# the table, not the class: the ORM's loading would take as long as everything else together
_DOCUMENTS = metadata.tables[DocumentRow.__tablename__].c

_Select = Select[str, int, str, str, str, str, int]
_Row = Row[str, int, str, str, str, str, int]


async def scan_heads(
    scope: Scope, tenant_id: str, collection_uid: str, after_id: str, limit: int
) -> Sequence[DocumentHead]:
    """Return heads by document id, from after `after_id` on."""
    statement = (
        _select_heads(tenant_id, collection_uid)
        .where(_DOCUMENTS.id > after_id)
        .order_by(_DOCUMENTS.id)
        .limit(limit)
    )
    return await _read(scope, statement)


async def heads_of(
    scope: Scope, tenant_id: str, collection_uid: str, document_ids: Iterable[str]
) -> dict[str, DocumentHead]:
    """Return the head of each document by its id; one that nobody may see is left out."""
    ids = list(dict.fromkeys(document_ids))
    found: dict[str, DocumentHead] = {}
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        batch = ids[start : start + IDS_PER_STATEMENT]
        statement = _select_heads(tenant_id, collection_uid).where(_DOCUMENTS.id.in_(batch))
        found.update((head.id, head) for head in await _read(scope, statement))
    return found


def _select_heads(tenant_id: str, collection_uid: str) -> _Select:
    return select(
        _DOCUMENTS.id,
        _DOCUMENTS.revision,
        _DOCUMENTS.title,
        _DOCUMENTS.source_uri,
        _DOCUMENTS.media_type,
        # as text: the column's own type would decode it on the event loop
        cast(_DOCUMENTS.fields, Text),
        _DOCUMENTS.chunk_count,
    ).where(_DOCUMENTS.tenant_id == tenant_id, _DOCUMENTS.collection_uid == collection_uid)


async def _read(scope: Scope, statement: _Select) -> list[DocumentHead]:
    rows = (await scope.session.execute(statement)).all()
    return await asyncio.to_thread(_decode, rows)


def _decode(rows: Sequence[_Row]) -> list[DocumentHead]:
    return [
        DocumentHead(
            document_id,
            revision,
            title,
            source_uri,
            media_type,
            metadata_from_json(json.loads(fields)),
            count,
        )
        for document_id, revision, title, source_uri, media_type, fields, count in rows
    ]
