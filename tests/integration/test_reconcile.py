"""AdminService.Reconcile against the real stores."""

from __future__ import annotations

import pytest

from rag.v1 import admin_service_pb2 as pb
from rag.v1 import document_service_pb2 as document_pb
from rag_server.testing.orphans import assert_no_orphans
from tests.rag_client import RagClient, ServerUnderTest, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARAGRAPHS = "\n\n".join(f"Paragraph {number} is about herons. " * 30 for number in range(6))


async def reconcile(
    client: RagClient, collection: str, *, dry_run: bool = False
) -> tuple[list[pb.ReconcileFinding], pb.ReconcileSummary]:
    request = pb.ReconcileRequest(collection_id=collection, dry_run=dry_run)
    *found, last = [response async for response in client.admin.Reconcile(request)]
    assert last.WhichOneof("part") == "summary"
    return [each.finding for each in found], last.summary


async def test_reconcile_repairs_a_document_whose_chunks_are_gone(
    server: ServerUnderTest, client: RagClient, collection: str
) -> None:
    job = await client.ingest_text(collection, PARAGRAPHS, "doc")
    await client.ingest_text(collection, "Of storks, whole.", "other")
    parts = server.running.parts
    async with parts.database.snapshot() as tx:
        found = await tx.collections.get("default", collection)
    assert await reconcile(client, collection) == (
        [],
        pb.ReconcileSummary(collection_count=1, document_count=2, chunk_count=job.progress.chunk_count + 1),
    )
    await parts.chunks.delete_document("default", found.uid, "doc")
    (finding,), summary = await reconcile(client, collection, dry_run=True)
    assert (finding.kind, finding.document_id, finding.document_revision) == (
        pb.RECONCILE_KIND_MISSING_CHUNKS,
        "doc",
        1,
    )
    assert (finding.chunk_count, finding.is_repaired) == (job.progress.chunk_count, False)
    assert (summary.finding_count, summary.repaired_count) == (1, 0)
    (finding,), summary = await reconcile(client, collection)
    assert summary.repaired_count == 1
    again = await client.end_of(finding.job_id)
    assert (again.document_revision, again.progress.is_unchanged) == (2, False)
    assert again.progress.embedded_chunk_count == job.progress.chunk_count
    chunks = await client.documents.ListChunks(
        document_pb.ListChunksRequest(collection_id=collection, document_id="doc", page_size=1000)
    )
    assert len(chunks.chunks) == job.progress.chunk_count
    await assert_no_orphans(parts.database, parts.chunks, parts.blobs, collection_id=collection)


async def test_reconcile_of_an_absent_collection_is_not_found(client: RagClient) -> None:
    refused = await failure(client.admin.Reconcile(pb.ReconcileRequest(collection_id="absent")))
    assert refused.reason == "COLLECTION_NOT_FOUND"
