"""F3: SIGKILL in the middle of ingest; what was accepted finishes after the restart, once, and the same."""

from __future__ import annotations

import asyncio
import random
import signal
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from rag.v1 import chunking_pb2
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.backends.milvus.store import MilvusChunkStore
from rag_server.domain.document import chunk_id
from rag_server.metadata.database import Database
from rag_server.testing.orphans import assert_no_orphans
from rag_server.testing.server_process import ServerStarter
from tests.faults.polling import until
from tests.rag_client import RagClient

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

COLLECTION = "killed"
DOCUMENTS = {f"doc-{number}": number for number in range(12)}
CHUNKING = chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(max_tokens=32, overlap_ratio=0))
SETTINGS = {"ingest__embedding_batch_chunks": 4}
PARAGRAPHS = 20
KILLS = 3
DYING_SERVER = Path(__file__).with_name("dying_server.py")

Chunks = dict[str, list[tuple[int, str]]]
"""Ordinal and text of a document's chunks, in order, by document."""


def dying(step: str, *, call: int) -> list[str]:
    """Return the program of a server that kills itself when it comes to a step for the given time."""
    return [str(DYING_SERVER), step, str(call)]


def text_of(number: int) -> str:
    """Return a document of some 20 chunks, which fill five batches."""
    return "\n\n".join(
        f"Document {number} has a paragraph {each}, which says that crate {number * 100 + each} holds "
        f"{each * 7 + number} green bottles and stands on shelf {each % 5} of hall {number}."
        for each in range(PARAGRAPHS)
    )


async def submit_all(
    client: RagClient, collection: str, documents: Mapping[str, int] = DOCUMENTS
) -> dict[str, str]:
    """Hand in the documents; return the job ids by document."""
    await client.create_collection(collection, chunking=CHUNKING)
    return {
        document_id: (await client.submit(collection, text_of(number), document_id)).id
        for document_id, number in documents.items()
    }


async def finished(client: RagClient, jobs: dict[str, str]) -> dict[str, ingest_pb.Job]:
    """Wait until every job has ended well."""
    ended = {document_id: await client.end_of(job_id) for document_id, job_id in jobs.items()}
    assert {job.state for job in ended.values()} == {ingest_pb.JOB_STATE_SUCCEEDED}
    return ended


async def chunks_of(client: RagClient, collection: str, documents: Iterable[str] = DOCUMENTS) -> Chunks:
    """Return the chunks that readers see."""
    found: Chunks = {}
    for document_id in documents:
        request = document_pb.ListChunksRequest(
            collection_id=collection, document_id=document_id, page_size=1000
        )
        response = await client.documents.ListChunks(request)
        found[document_id] = [(chunk.ordinal, chunk.text) for chunk in response.chunks]
    return found


async def assert_stores_agree(data_dir: Path, expected: Chunks, *, revision: int) -> None:
    """Open the files of a stopped server: each chunk is there once, under the id of its place."""
    database = await Database.open(f"sqlite+aiosqlite:///{data_dir / 'metadata.db'}")
    store = await MilvusChunkStore.open(str(data_dir / "chunks.db"))
    blobs = LocalBlobStore(data_dir / "blobs")
    try:
        await assert_no_orphans(database, store, blobs)  # F16, once what was due is done
        async with database.snapshot() as tx:
            collection = await tx.collections.get("default", COLLECTION)
            documents = await tx.documents.list("default", collection.uid, limit=100)
        assert {document.id for document in documents} == set(expected)
        assert {document.revision for document in documents} == {revision}
        assert await store.count(collection) == collection.chunk_count == sum(map(len, expected.values()))
        restorable: set[str] = set()
        for document in documents:
            rows = await store.list_chunks(
                collection, document.id, document.revision, first_ordinal=0, limit=1000
            )
            assert [(row.ordinal, row.text) for row in rows] == expected[document.id]
            assert [row.id for row in rows] == [
                chunk_id("default", collection.uid, document.id, revision, ordinal)
                for ordinal in range(len(rows))
            ]
            async with database.snapshot() as tx:
                restorable |= {
                    each.sha256
                    for each in await tx.history.list("default", collection.uid, document.id, limit=9)
                }
        kept = {path.name for path in (data_dir / "blobs" / "default").rglob("*") if path.is_file()}
        assert {document.sha256 for document in documents} <= kept == restorable
        assert staged_files(data_dir) == []
    finally:
        await store.close()
        await database.close()


async def upload_for_ever(client: RagClient) -> None:
    """Upload a document that never ends, until the server is gone."""

    async def endless() -> AsyncIterator[ingest_pb.UploadDocumentRequest]:
        yield ingest_pb.UploadDocumentRequest(start=ingest_pb.UploadStart(collection_id=COLLECTION))
        while True:
            yield ingest_pb.UploadDocumentRequest(data=b"never complete " * 100)
            await asyncio.sleep(0.01)

    with pytest.raises(grpc.aio.AioRpcError):
        await client.ingest.UploadDocument(endless())


def staged_files(data_dir: Path) -> list[Path]:
    return list((data_dir / "blobs" / ".staging").iterdir())


async def test_kill_in_the_middle_of_ingest_loses_and_doubles_nothing(
    start_server: ServerStarter, tmp_path: Path, client: RagClient
) -> None:
    data_dir = tmp_path / "data"
    moments = random.Random(20261121)  # noqa: S311 - moments, not secrets
    undisturbed = f"undisturbed-{uuid.uuid4().hex[:12]}"
    await finished(client, await submit_all(client, undisturbed))
    expected = await chunks_of(client, undisturbed)

    process = start_server(**SETTINGS)
    async with RagClient(process.address) as killed:
        jobs = await submit_all(killed, COLLECTION)
        upload = asyncio.create_task(upload_for_ever(killed))
        await until(lambda: staged_files(data_dir))
        process.kill()
        await upload
    assert staged_files(data_dir)
    for _ in range(KILLS - 1):
        process = start_server(**SETTINGS)
        process.wait_for_event("serving")
        assert staged_files(data_dir) == []
        await asyncio.sleep(moments.uniform(0.0, 0.5))  # the moment of the kill, not a wait for something
        process.kill()
        assert any(event["event"] == "unfinished jobs taken up" for event in process.events())

    process = start_server(**SETTINGS)
    async with RagClient(process.address) as restarted:
        ended = await finished(restarted, jobs)
        found = await chunks_of(restarted, COLLECTION)
        listed = await restarted.ingest.ListJobs(ingest_pb.ListJobsRequest(collection_id=COLLECTION))

    assert {job.id for job in listed.jobs} == set(jobs.values())
    assert {job.document_revision for job in ended.values()} == {1}
    assert any(job.attempt_count > 1 for job in ended.values())
    assert found == expected
    assert process.stop() == 0
    await assert_stores_agree(data_dir, expected, revision=1)


async def test_kill_at_each_step_of_a_replacement_keeps_one_version(
    start_server: ServerStarter, tmp_path: Path
) -> None:
    one = {"doc-0": 0}
    process = start_server(program=dying("publish-job", call=2), **SETTINGS)
    async with RagClient(process.address) as client:
        jobs = await submit_all(client, COLLECTION, one)
        await finished(client, jobs)
        with suppress(grpc.aio.AioRpcError):  # the job is accepted, whether the caller was still told or not
            await client.submit(COLLECTION, text_of(1), "doc-0")
        process.wait()
    for step, call in (("write-chunks", 2), ("publish-document", 1), ("sweep", 1)):
        process = start_server(program=dying(step, call=call), **SETTINGS)
        assert process.wait() == -signal.SIGKILL, step

    process = start_server(**SETTINGS)
    async with RagClient(process.address) as client:
        listed = await client.ingest.ListJobs(ingest_pb.ListJobsRequest(collection_id=COLLECTION))
        states = [job.state for job in listed.jobs]
        found = await chunks_of(client, COLLECTION, one)
        hits = await client.search(COLLECTION, "green bottles on a shelf", top_k=100)

    assert states == [ingest_pb.JOB_STATE_SUCCEEDED] * 2
    assert "".join(text for _, text in found["doc-0"]).count("Document 1 ") == PARAGRAPHS
    assert {(hit.chunk.ordinal, hit.chunk.text) for hit in hits.results} == set(found["doc-0"])
    assert process.stop() == 0
    await assert_stores_agree(tmp_path / "data", found, revision=2)
