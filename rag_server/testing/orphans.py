"""The last question of a test of failures: do the stores agree (F16)?"""

from __future__ import annotations

import asyncio

from rag_server.backends.protocols import BlobStore, ChunkStore
from rag_server.domain.reconciliation import Inspected
from rag_server.ingest.reconcile import Reconciler
from rag_server.ingest.submit import Submitter
from rag_server.ingest.sweep import Sweeper
from rag_server.interceptors.call import DEFAULT_TENANT
from rag_server.metadata.database import Database

_SWEEP_S = 20.0
"""How long what is due may take to be removed."""


async def assert_no_orphans(
    database: Database,
    chunks: ChunkStore,
    blobs: BlobStore,
    *,
    tenant_id: str = DEFAULT_TENANT,
    collection_id: str = "",
) -> Inspected:
    """Run what is due, then raise `AssertionError` for anything in one store that another does not know of.

    Returns how much was looked at, since nothing is wrong with nothing. Call it when no job is running: the
    chunks of a running job's revision are left out.
    """
    sweeper = Sweeper(database, chunks, blobs)
    await sweeper.sweep()
    reconciler = Reconciler(database, chunks, blobs, Submitter(1), sweeper)
    inspected = Inspected()
    found = reconciler.run(tenant_id, inspected, collection_id=collection_id, is_dry_run=True)
    findings = [finding async for finding in found]
    assert not findings, findings
    async with asyncio.timeout(_SWEEP_S):  # what other callers have removed meanwhile becomes due, too
        while await _is_any_due(database):
            await sweeper.sweep()
    return inspected


async def _is_any_due(database: Database) -> bool:
    async with database.snapshot() as tx:
        return bool(await tx.sweeps.next_batch(limit=1))
