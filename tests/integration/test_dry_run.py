"""Dry runs against a real server: the same chunks and the same errors as a job, and no trace of them."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest

from ingest_worker.sandbox.pool import ParserPool
from rag.v1 import chunking_pb2, dry_run_pb2
from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from rag_server.app import running_server
from tests.conftest import SettingsFactory
from tests.rag_client import RagClient, ServerUnderTest, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODE = grpc.StatusCode
TEXT = "# Birds of the river\n\n" + "\n\n".join(
    f"## Part {part}\n\nHeron number {part} waits by the river and watches the water for a long time."
    for part in range(30)
)
SMALL = chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(max_tokens=24, overlap_ratio=0))


async def dry_run(
    client: RagClient, collection: str, *, document: pb.DocumentSpec | None = None, **fields: Any
) -> dry_run_pb2.DryRunReport:
    wanted = dry_run_pb2.DryRun(
        **{key: fields.pop(key) for key in ("first_chunk", "max_chunks") if key in fields}
    )
    request = pb.IngestDocumentRequest(collection_id=collection, document=document, dry_run=wanted, **fields)
    response = await client.ingest.IngestDocument(request, timeout=60)
    assert not response.HasField("job")
    return response.dry_run


async def test_dry_run_shows_the_chunks_that_a_job_then_makes(client: RagClient, collection: str) -> None:
    document = pb.DocumentSpec(document_id="birds", file_name="birds.md")
    report = await dry_run(client, collection, text=TEXT, document=document, chunking=SMALL)
    await client.ingest_text(collection, TEXT, "birds", file_name="birds.md", chunking=SMALL)

    made = await client.documents.GetDocument(
        document_pb.GetDocumentRequest(collection_id=collection, document_id="birds")
    )
    chunks = await client.documents.ListChunks(
        document_pb.ListChunksRequest(collection_id=collection, document_id="birds", page_size=1000)
    )
    assert [
        (each.ordinal, each.text, each.span, list(each.heading_path), each.token_count)
        for each in report.chunks
    ] == [
        (each.ordinal, each.text, each.span, list(each.heading_path), each.token_count)
        for each in chunks.chunks
    ]
    document_made = made.document
    for name in ("media_type", "language", "title", "size_bytes", "sha256", "chunk_count", "token_count"):
        assert getattr(report, name) == getattr(document_made, name), name
    assert report.document_id == "birds"
    assert report.title == "Birds of the river"
    assert report.chunk_count == len(report.chunks) > 10
    assert report.character_count == len(TEXT)
    assert not report.HasField("next_first_chunk")
    assert not report.HasField("page_count")


async def test_dry_run_can_be_read_page_by_page(client: RagClient, collection: str) -> None:
    whole = await dry_run(client, collection, text=TEXT, chunking=SMALL)
    found: list[dry_run_pb2.DraftChunk] = []
    first = 0
    while True:
        page = await dry_run(client, collection, text=TEXT, chunking=SMALL, first_chunk=first, max_chunks=7)
        assert page.chunk_count == whole.chunk_count
        assert len(page.chunks) <= 7
        found += page.chunks
        if not page.HasField("next_first_chunk"):
            break
        first = page.next_first_chunk
    assert found == list(whole.chunks)
    totals = await dry_run(client, collection, text=TEXT, chunking=SMALL, max_chunks=0)
    assert (list(totals.chunks), totals.token_count) == ([], whole.token_count)
    beyond = await dry_run(client, collection, text=TEXT, first_chunk=10_000)
    assert (list(beyond.chunks), beyond.HasField("next_first_chunk")) == ([], False)


async def test_dry_run_writes_nothing(server: ServerUnderTest, client: RagClient, collection: str) -> None:
    text = f"Only for the dry run into {collection}."
    blobs = Path(server.settings.storage.data_dir) / "blobs"
    before = (await client.ingest.ListJobs(pb.ListJobsRequest(collection_id=collection))).jobs
    shown = await client.collections.GetCollection(
        collection_pb.GetCollectionRequest(collection_id=collection)
    )

    report = await dry_run(client, collection, text=text)

    digest = hashlib.sha256(text.encode()).hexdigest()
    assert report.sha256 == digest
    assert report.document_id == f"sha256-{digest[:32]}"
    assert not [path for path in blobs.rglob("*") if path.name == digest]
    assert not list((blobs / ".staging").iterdir())
    after = await client.ingest.ListJobs(pb.ListJobsRequest(collection_id=collection))
    assert list(after.jobs) == list(before) == []
    assert (
        await client.collections.GetCollection(collection_pb.GetCollectionRequest(collection_id=collection))
    ) == shown


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": b"%PDF-1.7 and then nothing of it"}, "DOCUMENT_CORRUPT"),
        ({"text": "   \n"}, "DOCUMENT_EMPTY"),
        ({"data": b"\x89PNG\r\n\x1a\n" + b"\0" * 64}, "UNSUPPORTED_MEDIA_TYPE"),
        ({"text": "plain", "document": pb.DocumentSpec(media_type="application/pdf")}, "MEDIA_TYPE_MISMATCH"),
        ({"text": "x", "document": pb.DocumentSpec(media_type="video/mp4")}, "UNSUPPORTED_MEDIA_TYPE"),
        ({"data": b"x" * (4 * 1024 * 1024 + 1)}, "DOCUMENT_TOO_LARGE"),
        ({"uri": "ftp://example.org/x"}, "UNSUPPORTED_URI_SCHEME"),
    ],
)
async def test_dry_run_fails_of_what_a_job_fails_of(
    client: RagClient, collection: str, fields: dict[str, Any], reason: str
) -> None:
    refused = await failure(dry_run(client, collection, **fields))
    assert refused.reason == reason
    try:  # the same document, in earnest
        spec = fields.get("document", pb.DocumentSpec())
        given = {name: value for name, value in fields.items() if name != "document"}
        request = pb.IngestDocumentRequest(collection_id=collection, document=spec, **given)
        job = await client.end_of((await client.ingest.IngestDocument(request)).job.id)
    except grpc.aio.AioRpcError:
        in_earnest = (await failure(client.ingest.IngestDocument(request))).reason
    else:
        in_earnest = job.error.reason
    assert in_earnest == reason


async def test_dry_run_into_a_missing_collection_is_refused(client: RagClient) -> None:
    refused = await failure(dry_run(client, "nowhere", text="x"))
    assert (refused.code, refused.reason) == (CODE.NOT_FOUND, "COLLECTION_NOT_FOUND")


async def test_dry_runs_beyond_the_limit_are_refused_and_one_that_is_cancelled_makes_room(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = asyncio.Semaphore(0)

    async def stuck(*_: Any, **__: Any) -> Any:
        entered.release()
        await asyncio.Event().wait()

    used = settings(ingest={"dry_runs": 1})
    async with running_server(used) as running, RagClient(running.address) as client:
        await client.create_collection("one")
        with monkeypatch.context() as patched:
            patched.setattr(ParserPool, "parse", stuck)
            request = pb.IngestDocumentRequest(collection_id="one", text="x", dry_run=dry_run_pb2.DryRun())
            first = client.ingest.IngestDocument(request)
            await entered.acquire()
            refused = await failure(dry_run(client, "one", text="x"))
            first.cancel()
        assert (refused.code, refused.reason) == (CODE.RESOURCE_EXHAUSTED, "PARSERS_BUSY")
        assert (refused.metadata, refused.retry_after_s) == ({"limit": "1"}, 5.0)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert (await dry_run(client, "one", text="Some text.")).chunk_count == 1
                    break
                except grpc.aio.AioRpcError as error:
                    assert error.code() is CODE.RESOURCE_EXHAUSTED  # noqa: PT017 - until the other has left
                    await asyncio.sleep(0.05)
