"""B6 and the bad input of ingest: a clear reason in the answer or on the job, and nothing half-written."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.ingest.expire import Expirer
from rag_server.ingest.sweep import Sweeper
from tests.documents import (
    PNG,
    compound_file,
    office_shell,
    pdf,
    pdf_encrypted,
    pdf_scanned,
    pdf_truncated,
    pdf_with_broken_page,
)
from tests.documents_compound import word
from tests.rag_client import RagClient, ServerUnderTest, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

MEBIBYTE = 1024 * 1024


def blob_files(server: ServerUnderTest, data: bytes) -> list[str]:
    """Return the files in the blob folder that hold `data`, and all that are staged."""
    root = server.settings.storage.data_dir / "blobs"
    digest = hashlib.sha256(data).hexdigest()
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and (path.name == digest or ".staging" in path.parts)
    ]


async def assert_nothing_written(server: ServerUnderTest, collection: str, data: bytes) -> None:
    """Check metadata, chunk store and blob folder, once what is due has been swept; and that all goes on.

    The bytes of a failed job are due when it can no longer be retried: the time for that is made to be over.
    """
    parts, client = server.running.parts, server.client
    await Expirer(parts.database, 86_400.0, failed_ttl_s=0.0, upload_ttl_s=86_400.0).expire()
    await Sweeper(parts.database, parts.chunks, parts.blobs).sweep()
    async with parts.database.snapshot() as tx:
        found = await tx.collections.get("default", collection)
    listed = await client.documents.ListDocuments(document_pb.ListDocumentsRequest(collection_id=collection))
    assert not listed.documents
    assert (found.document_count, found.chunk_count) == (0, 0)
    assert await parts.chunks.count(found) == 0
    assert blob_files(server, data) == []
    await client.ingest_text(collection, "The server goes on.", "afterwards")
    assert (await client.search(collection, "does it go on?")).results


DOCX = office_shell(
    "word/document.xml", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
)


@dataclass(frozen=True)
class BadDocument:
    """Content that its job has to refuse."""

    data: Callable[[], bytes]
    reason: str
    media_type: str = ""
    file_name: str = ""


ON_THE_JOB = {
    "white space": BadDocument(lambda: b" \n\t \r\n", "DOCUMENT_EMPTY"),
    "truncated PDF": BadDocument(pdf_truncated, "DOCUMENT_CORRUPT", "application/pdf"),
    "PDF with a broken page": BadDocument(pdf_with_broken_page, "DOCUMENT_CORRUPT", "application/pdf"),
    "encrypted PDF": BadDocument(pdf_encrypted, "DOCUMENT_ENCRYPTED", "application/pdf"),
    "scanned PDF": BadDocument(pdf_scanned, "DOCUMENT_HAS_NO_TEXT", "application/pdf"),
    "PDF header alone": BadDocument(lambda: b"%PDF-1.7\n", "DOCUMENT_CORRUPT", "application/pdf"),
    "PNG said to be a PDF": BadDocument(lambda: PNG, "MEDIA_TYPE_MISMATCH", "application/pdf"),
    "PDF said to be text": BadDocument(lambda: pdf(title="lie"), "MEDIA_TYPE_MISMATCH", "text/plain"),
    "text named as a PDF": BadDocument(lambda: b"no PDF", "MEDIA_TYPE_MISMATCH", file_name="a.pdf"),
    "PNG": BadDocument(lambda: PNG + b"2", "UNSUPPORTED_MEDIA_TYPE"),
    "truncated DOCX": BadDocument(lambda: DOCX[: len(DOCX) // 2], "DOCUMENT_CORRUPT", file_name="a.docx"),
    "encrypted DOCX": BadDocument(
        lambda: compound_file("EncryptedPackage"), "DOCUMENT_ENCRYPTED", file_name="a.docx"
    ),
    "DOCX said to be a PDF": BadDocument(lambda: DOCX + b" ", "MEDIA_TYPE_MISMATCH", "application/pdf"),
    "Word 95 document": BadDocument(
        lambda: word("Bees.", identity=0xA5DC, version=104), "UNSUPPORTED_MEDIA_TYPE"
    ),
    "damaged DOC": BadDocument(lambda: compound_file("WordDocument"), "DOCUMENT_CORRUPT"),
    "encrypted DOC": BadDocument(lambda: word("Bees.", flags=0x0300), "DOCUMENT_ENCRYPTED"),
    "old presentation": BadDocument(lambda: compound_file("PowerPoint Document"), "UNSUPPORTED_MEDIA_TYPE"),
    "HTML without text": BadDocument(
        lambda: b"<!DOCTYPE html><html><body><script>1</script></body></html>", "DOCUMENT_HAS_NO_TEXT"
    ),
}


@pytest.mark.parametrize("kind", ON_THE_JOB)
async def test_bad_document_fails_its_job_and_leaves_nothing(
    server: ServerUnderTest, client: RagClient, collection: str, kind: str
) -> None:
    bad = ON_THE_JOB[kind]
    data = bad.data()

    job = await client.submit(
        collection, document_id="bad", data=data, media_type=bad.media_type, file_name=bad.file_name
    )
    ended = await client.end_of(job.id)

    assert ended.state == ingest_pb.JOB_STATE_FAILED
    assert ended.error.reason == bad.reason
    assert ended.error.message
    assert ended.attempt_count == 1
    await assert_nothing_written(server, collection, data)


async def test_new_version_that_fails_leaves_the_old_one(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, "The old version stands.", "kept")

    job = await client.submit(collection, document_id="kept", data=pdf_truncated(0.7))
    ended = await client.end_of(job.id)

    assert ended.state == ingest_pb.JOB_STATE_FAILED
    found = await client.search(collection, "which version stands?")
    assert [each.chunk.text for each in found.results] == ["The old version stands."]


@dataclass(frozen=True)
class Refusal:
    """What a refused call answers."""

    code: grpc.StatusCode
    reason: str
    field: str = ""


INVALID = grpc.StatusCode.INVALID_ARGUMENT

REFUSED: dict[str, tuple[dict[str, Any], Refusal]] = {
    "empty text": ({"text": ""}, Refusal(INVALID, "INVALID_REQUEST", "text")),
    "no bytes": ({"data": b""}, Refusal(INVALID, "INVALID_REQUEST", "data")),
    "no source": ({}, Refusal(INVALID, "INVALID_REQUEST", "source")),
    "unsupported media type": (
        {"text": "x", "document": {"media_type": "image/png"}},
        Refusal(INVALID, "UNSUPPORTED_MEDIA_TYPE", "document.media_type"),
    ),
    "document id that breaks the rules": (
        {"text": "x", "document": {"document_id": "../etc/passwd"}},
        Refusal(INVALID, "INVALID_REQUEST", "document.document_id"),
    ),
    "metadata key that is no name": (
        {"text": "x", "document": {"metadata": {"a b": {"integer_value": 1}}}},
        Refusal(INVALID, "INVALID_REQUEST", 'document.metadata["a b"]'),
    ),
    "document over the limit": (
        {"data": b"a" * (5 * MEBIBYTE)},
        Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "DOCUMENT_TOO_LARGE"),
    ),
    "unknown collection": (
        {"text": "x", "collection_id": "nowhere"},
        Refusal(grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND"),
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_bad_ingest_call_is_refused_and_leaves_nothing(
    server: ServerUnderTest, client: RagClient, collection: str, kind: str
) -> None:
    fields, expected = REFUSED[kind]
    request = ingest_pb.IngestDocumentRequest(**{"collection_id": collection, **fields})

    found = await failure(client.ingest.IngestDocument(request))

    assert (found.code, found.reason) == (expected.code, expected.reason)
    assert list(found.violations) == ([expected.field] if expected.field else [])
    jobs = await client.ingest.ListJobs(ingest_pb.ListJobsRequest(collection_id=collection))
    assert not jobs.jobs
    await assert_nothing_written(server, collection, request.data or request.text.encode())


async def upload(
    collection: str, *pieces: bytes, **start: Any
) -> AsyncIterator[ingest_pb.UploadDocumentRequest]:
    yield ingest_pb.UploadDocumentRequest(start=ingest_pb.UploadStart(collection_id=collection, **start))
    for piece in pieces:
        yield ingest_pb.UploadDocumentRequest(data=piece)


UPLOADS: dict[str, tuple[list[bytes], dict[str, Any], Refusal]] = {
    "no bytes": ([], {}, Refusal(INVALID, "DOCUMENT_EMPTY", "data")),
    "over the limit": (
        [b"a" * MEBIBYTE] * 5,
        {},
        Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "DOCUMENT_TOO_LARGE"),
    ),
    "other digest": (
        [b"some bytes"],
        {"sha256": "0" * 64},
        Refusal(INVALID, "CHECKSUM_MISMATCH", "start.sha256"),
    ),
    "empty piece": ([b"some bytes", b""], {}, Refusal(INVALID, "INVALID_REQUEST", "data")),
    "unsupported media type": (
        [b"some bytes"],
        {"document": {"media_type": "image/png"}},
        Refusal(INVALID, "UNSUPPORTED_MEDIA_TYPE", "start.document.media_type"),
    ),
}


@pytest.mark.parametrize("kind", UPLOADS)
async def test_bad_upload_is_refused_and_leaves_nothing(
    server: ServerUnderTest, client: RagClient, collection: str, kind: str
) -> None:
    pieces, start, expected = UPLOADS[kind]

    found = await failure(client.ingest.UploadDocument(upload(collection, *pieces, **start)))

    assert (found.code, found.reason) == (expected.code, expected.reason)
    assert list(found.violations) == ([expected.field] if expected.field else [])
    await assert_nothing_written(server, collection, b"".join(pieces))


async def test_upload_without_start_is_refused(server: ServerUnderTest, client: RagClient) -> None:
    async def bytes_first() -> AsyncIterator[ingest_pb.UploadDocumentRequest]:
        yield ingest_pb.UploadDocumentRequest(data=b"some bytes")

    found = await failure(client.ingest.UploadDocument(bytes_first()))

    assert (found.code, found.reason) == (INVALID, "INVALID_UPLOAD")
    assert list(found.violations) == ["part"]
    assert blob_files(server, b"some bytes") == []


@pytest.mark.parametrize("name", ["", "Upper", "9lives", "a b", "a/../b", "ñandú", "a" * 64])
async def test_collection_name_that_breaks_the_rules_is_refused(client: RagClient, name: str) -> None:
    found = await failure(client.create_collection(name))

    assert (found.code, found.reason) == (INVALID, "INVALID_REQUEST")
    assert list(found.violations) == ["collection_id"]


@pytest.mark.parametrize("top_k", [0, 10_000, -1])
async def test_top_k_out_of_range_is_refused(client: RagClient, collection: str, top_k: int) -> None:
    found = await failure(client.search(collection, "question", top_k=top_k))

    assert (found.code, found.reason) == (INVALID, "INVALID_REQUEST")
    assert list(found.violations) == ["options.top_k"]


async def test_unknown_collection_is_not_found_by_every_search(client: RagClient) -> None:
    question: dict[str, Any] = {"collection_ids": ["nowhere"], "question": "why?"}

    found = [
        await failure(client.search("nowhere", "why?")),
        await failure(client.generate.Generate(generate_pb.GenerateRequest(**question))),
        await failure(client.generate.StreamGenerate(generate_pb.StreamGenerateRequest(**question))),
    ]

    assert [each.reason for each in found] == ["COLLECTION_NOT_FOUND"] * 3
    assert {each.code for each in found} == {grpc.StatusCode.NOT_FOUND}
