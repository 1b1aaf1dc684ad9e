"""Deleting many documents: selected by a filter or by their ids, a bounded number at a time.

Each transaction deletes a few, so that other writers wait for milliseconds, not for the whole batch; each
deletion is final for readers when its transaction commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from rag_server.domain.collection import Collection
from rag_server.domain.filter import Filter
from rag_server.errors import NotFound
from rag_server.metadata.database import Database, Transaction
from rag_server.query.filtering import check_filter
from rag_server.query.selecting import matching_ids, select_documents

_PER_TRANSACTION = 50
Selection = Filter | tuple[str, ...]
"""A filter, or ids."""


@dataclass(slots=True)
class Deletion:
    """What was selected, and what became of it."""

    matched_count: int
    document_ids: list[str] = field(default_factory=list)
    """Deleted; in a dry run, to be deleted by the first call."""
    deleted_count: int = 0
    missing_ids: list[str] = field(default_factory=list)
    remaining_count: int = 0
    collection_revision: int = 0


async def delete_documents(
    database: Database,
    tenant_id: str,
    collection_id: str,
    selection: Selection,
    *,
    limit: int,
    is_dry_run: bool,
) -> Deletion:
    """Delete up to `limit` of the documents that are selected.

    A document that has been replaced since it was selected is deleted only if it still matches. Repeated
    after a failure, the call goes on where the other one stopped. Raises `NotFound` for the collection and
    what `check_filter` raises.
    """
    async with database.snapshot() as tx:
        collection = await tx.collections.get(tenant_id, collection_id)
        deletion = await _select(tx, collection, selection, limit)
    deletion.collection_revision = collection.revision
    if is_dry_run:
        deletion.remaining_count = deletion.matched_count
        return deletion
    chosen = iter(deletion.document_ids)
    deletion.document_ids = []
    while batch := list(islice(chosen, _PER_TRANSACTION)):
        async with database.transaction() as tx:
            deletion.document_ids += await _delete(tx, collection, selection, batch)
            deletion.collection_revision = (await tx.collections.get(tenant_id, collection_id)).revision
    deletion.deleted_count = len(deletion.document_ids)
    async with database.snapshot() as tx:
        left = await _select(tx, collection, selection, limit)
    deletion.remaining_count = left.matched_count
    return deletion


async def _select(tx: Transaction, collection: Collection, selection: Selection, limit: int) -> Deletion:
    if not isinstance(selection, tuple):
        check_filter(selection, [collection], path="filter")
        selected = await select_documents(tx, collection, selection, limit=limit)
        return Deletion(selected.count, selected.first_ids)
    ids = list(dict.fromkeys(selection))
    known = await tx.documents.revisions_of(collection.tenant_id, collection.uid, ids)
    known_ids = {*known, *await tx.jobs.documents_being_made(collection.tenant_id, collection.uid, ids)}
    found = [each for each in ids if each in known_ids]
    missing = [each for each in ids if each not in known_ids]
    return Deletion(len(found), found[:limit], missing_ids=missing)


async def _delete(
    tx: Transaction, collection: Collection, selection: Selection, batch: Sequence[str]
) -> list[str]:
    tenant_id, uid = collection.tenant_id, collection.uid
    await tx.collections.lock(tenant_id, uid)
    if not isinstance(selection, tuple):
        heads = await tx.documents.heads_of(tenant_id, uid, batch)
        batch = await asyncio.to_thread(matching_ids, list(heads.values()), selection)
    deleted = []
    for document_id in batch:
        try:
            await tx.documents.delete(tenant_id, uid, document_id)
        except NotFound:
            continue  # by somebody else meanwhile
        deleted.append(document_id)
    return deleted
