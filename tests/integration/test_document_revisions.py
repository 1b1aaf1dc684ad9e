"""Revisions over gRPC: unchanged content, delta embedding, history, restore, download."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import grpc
import pytest

from rag.v1 import chunking_pb2, metadata_pb2
from rag.v1 import document_service_pb2 as pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.domain.revision import KEPT_REVISIONS
from rag_server.ingest.sweep import Sweeper
from tests.rag_client import RagClient, ServerUnderTest, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHUNKING = chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(max_tokens=24, overlap_ratio=0))


def text(version: str, shelves: int = 8) -> str:
    return "\n\n".join(
        f"On shelf {number} stand {number + 2} green bottles of olive oil from the island of Crete."
        + (f" That was counted in {version}." if number == 0 else "")
        for number in range(shelves)
    )


async def ingest(client: RagClient, collection: str, content: str, **fields: Any) -> ingest_pb.Job:
    return await client.ingest_text(collection, content, "doc", chunking=CHUNKING, **fields)


async def revisions(client: RagClient, collection: str, **fields: Any) -> list[pb.DocumentRevision]:
    response = await client.documents.ListDocumentRevisions(
        pb.ListDocumentRevisionsRequest(collection_id=collection, document_id="doc", **fields)
    )
    return list(response.revisions)


async def restore(client: RagClient, collection: str, **fields: Any) -> ingest_pb.Job:
    request = pb.RestoreDocumentRevisionRequest(collection_id=collection, document_id="doc", **fields)
    return await client.end_of((await client.documents.RestoreDocumentRevision(request)).job.id)


async def document(client: RagClient, collection: str) -> pb.Document:
    request = pb.GetDocumentRequest(collection_id=collection, document_id="doc")
    return (await client.documents.GetDocument(request)).document


async def download(client: RagClient, collection: str, **fields: Any) -> tuple[pb.DownloadStart, bytes]:
    request = pb.DownloadDocumentRequest(collection_id=collection, document_id="doc", **fields)
    first, *rest = [message async for message in client.documents.DownloadDocument(request)]
    return first.start, b"".join(message.data for message in rest)


async def test_ingest_of_the_same_content_says_unchanged_and_makes_nothing(
    client: RagClient, collection: str
) -> None:
    await ingest(client, collection, text("May"))
    before = await document(client, collection)
    job = await ingest(client, collection, text("May"))
    assert job.progress.is_unchanged
    assert (job.document_revision, job.progress.embedded_chunk_count) == (1, 0)
    assert await document(client, collection) == before
    assert len(await revisions(client, collection)) == 1


async def test_ingest_of_a_small_change_embeds_that_only_and_is_found(
    client: RagClient, collection: str
) -> None:
    first = await ingest(client, collection, text("May"))
    job = await ingest(client, collection, text("June"))
    assert job.progress.embedded_chunk_count == 1
    assert job.progress.reused_chunk_count == first.progress.chunk_count - 1 > 3
    found = await client.search(collection, "when was it counted?", top_k=50)
    assert {each.chunk.document_revision for each in found.results} == {2}
    assert any("June" in each.chunk.text for each in found.results)
    assert not any("May" in each.chunk.text for each in found.results)


async def test_change_of_metadata_alone_takes_effect_without_embedding(
    client: RagClient, collection: str
) -> None:
    year = {"year": metadata_pb2.MetadataValue(integer_value=2020)}
    await ingest(client, collection, text("May"), metadata=year)
    year["year"].integer_value = 2021
    job = await ingest(client, collection, text("May"), metadata=year)
    assert (job.progress.is_unchanged, job.progress.embedded_chunk_count) == (False, 0)
    assert (await document(client, collection)).metadata["year"].integer_value == 2021


async def test_revisions_are_listed_newest_first_in_pages_up_to_the_kept(
    client: RagClient, collection: str
) -> None:
    for number in range(KEPT_REVISIONS + 2):
        await ingest(client, collection, text(f"month {number}"), title=f"Count {number}")
    listed = await revisions(client, collection)
    newest = KEPT_REVISIONS + 2
    assert [each.revision for each in listed] == [*range(newest, newest - KEPT_REVISIONS, -1)]
    assert [each.is_visible for each in listed] == [True] + [False] * (KEPT_REVISIONS - 1)
    assert [each.title for each in listed][:2] == [f"Count {newest - 1}", f"Count {newest - 2}"]
    assert listed[0].sha256 == hashlib.sha256(text(f"month {newest - 1}").encode()).hexdigest()
    request = pb.ListDocumentRevisionsRequest(collection_id=collection, document_id="doc", page_size=3)
    paged: list[int] = []
    while True:
        response = await client.documents.ListDocumentRevisions(request)
        paged += [each.revision for each in response.revisions]
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert paged == [each.revision for each in listed]
    refused = await failure(
        client.documents.RestoreDocumentRevision(
            pb.RestoreDocumentRevisionRequest(collection_id=collection, document_id="doc", revision=1)
        )
    )
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "REVISION_NOT_FOUND")


async def test_restore_brings_back_content_title_and_metadata(client: RagClient, collection: str) -> None:
    year = {"year": metadata_pb2.MetadataValue(integer_value=2020)}
    await ingest(client, collection, text("May"), title="First", metadata=year, file_name="count.txt")
    await ingest(client, collection, text("June"), title="Second")
    job = await restore(client, collection)
    assert job.state == ingest_pb.JOB_STATE_SUCCEEDED
    restored = await document(client, collection)
    assert (restored.revision, restored.title, restored.metadata["year"].integer_value) == (3, "First", 2020)
    found = await client.search(collection, "when was it counted?", top_k=50)
    assert any("May" in each.chunk.text for each in found.results)
    assert not any("June" in each.chunk.text for each in found.results)
    start, data = await download(client, collection)
    assert (start.revision, start.file_name, data) == (3, "count.txt", text("May").encode())
    again = await restore(client, collection, revision=2)
    assert (again.document_revision, (await document(client, collection)).title) == (4, "Second")


async def test_restore_of_the_visible_revision_is_unchanged(client: RagClient, collection: str) -> None:
    await ingest(client, collection, text("May"))
    job = await restore(client, collection, revision=1)
    assert (job.progress.is_unchanged, job.document_revision) == (True, 1)


async def test_restore_with_a_request_id_is_done_once(client: RagClient, collection: str) -> None:
    await ingest(client, collection, text("May"))
    await ingest(client, collection, text("June"))
    request = pb.RestoreDocumentRevisionRequest(
        collection_id=collection, document_id="doc", revision=1, request_id=str(uuid.uuid4())
    )
    first = (await client.documents.RestoreDocumentRevision(request)).job
    assert (await client.documents.RestoreDocumentRevision(request)).job.id == first.id
    await client.end_of(first.id)
    request.revision = 2
    other = await failure(client.documents.RestoreDocumentRevision(request))
    assert other.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"collection_id": "absent"}, "COLLECTION_NOT_FOUND"),
        ({"document_id": "absent"}, "DOCUMENT_NOT_FOUND"),
        ({"revision": 7}, "REVISION_NOT_FOUND"),
        ({}, "REVISION_NOT_FOUND"),  # there is none before the first
        ({"revision": 0}, "INVALID_REQUEST"),
        ({"revision": -1}, "INVALID_REQUEST"),
        ({"document_id": ""}, "INVALID_REQUEST"),
    ],
)
async def test_restore_of_what_is_not_there_has_its_reason(
    client: RagClient, collection: str, fields: dict[str, Any], reason: str
) -> None:
    await ingest(client, collection, text("May"))
    named = {"collection_id": collection, "document_id": "doc", **fields}
    refused = await failure(
        client.documents.RestoreDocumentRevision(pb.RestoreDocumentRevisionRequest(**named))
    )
    assert refused.reason == reason


async def test_download_sends_the_bytes_of_each_kept_revision(client: RagClient, collection: str) -> None:
    # many bytes, few words: comments are left out
    large = f"<!DOCTYPE html><html><body><p>{text('May')}</p><!--{'x' * 500_000}--></body></html>"
    await ingest(client, collection, large)
    await ingest(client, collection, text("June"), file_name="june.txt")
    start, data = await download(client, collection, revision=1)
    assert (data, start.size_bytes) == (large.encode(), len(large))
    assert start.sha256 == hashlib.sha256(data).hexdigest()
    start, data = await download(client, collection)
    assert (start.revision, start.media_type, start.file_name) == (2, "text/plain", "june.txt")
    assert data == text("June").encode()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"collection_id": "absent"}, "COLLECTION_NOT_FOUND"),
        ({"document_id": "absent"}, "DOCUMENT_NOT_FOUND"),
        ({"revision": 2}, "REVISION_NOT_FOUND"),
        ({"revision": 0}, "INVALID_REQUEST"),
    ],
)
async def test_download_of_what_is_not_there_has_its_reason(
    client: RagClient, collection: str, fields: dict[str, Any], reason: str
) -> None:
    await ingest(client, collection, text("May"))
    named = {"collection_id": collection, "document_id": "doc", **fields}
    refused = await failure(client.documents.DownloadDocument(pb.DownloadDocumentRequest(**named)))
    assert refused.reason == reason


async def test_download_of_damaged_or_missing_bytes_does_not_end_well(
    server: ServerUnderTest, client: RagClient, collection: str
) -> None:
    content = text("May") + collection  # bytes that no other test has
    await ingest(client, collection, content)
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    path = server.settings.storage.data_dir / "blobs" / "default" / sha256[:2] / sha256
    path.write_bytes(b"X" + path.read_bytes()[1:])
    request = pb.DownloadDocumentRequest(collection_id=collection, document_id="doc")
    damaged = await failure(client.documents.DownloadDocument(request))
    assert (damaged.code, damaged.reason) == (grpc.StatusCode.INTERNAL, "BLOB_DAMAGED")
    path.unlink()
    missing = await failure(client.documents.DownloadDocument(request))
    assert missing.reason == "BLOB_NOT_FOUND"
    await client.documents.DeleteDocument(
        pb.DeleteDocumentRequest(collection_id=collection, document_id="doc")
    )


async def test_deleted_document_has_no_revisions_and_leaves_no_bytes(
    server: ServerUnderTest, client: RagClient, collection: str
) -> None:
    for month in ("May", "June"):
        await ingest(client, collection, text(month) + collection)
    parts = server.running.parts
    digests = [each.sha256 for each in await revisions(client, collection)]
    assert [await parts.blobs.size("default", each) for each in digests] != [None, None]
    await client.documents.DeleteDocument(
        pb.DeleteDocumentRequest(collection_id=collection, document_id="doc")
    )
    for call in (
        client.documents.ListDocumentRevisions(
            pb.ListDocumentRevisionsRequest(collection_id=collection, document_id="doc")
        ),
        client.documents.RestoreDocumentRevision(
            pb.RestoreDocumentRevisionRequest(collection_id=collection, document_id="doc", revision=1)
        ),
        client.documents.DownloadDocument(
            pb.DownloadDocumentRequest(collection_id=collection, document_id="doc", revision=1)
        ),
    ):
        assert (await failure(call)).reason == "DOCUMENT_NOT_FOUND"
    await Sweeper(parts.database, parts.chunks, parts.blobs).sweep()
    assert [await parts.blobs.size("default", each) for each in digests] == [None, None]
