"""Readers beside writers: whole versions only, and nothing of what was deleted (F15)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

import grpc
import pytest

from rag.v1 import chunking_pb2, retrieved_chunk_pb2
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.ingest.sweep import Sweeper
from tests.rag_client import RagClient, ServerUnderTest

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHUNKING = chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(max_tokens=24, overlap_ratio=0))
PARTS = 6
READERS = 20
REVISIONS = 6
QUERY = "which bottles stand on the shelf of the hall?"
_MARK = re.compile(r"version (\d+)\b")


def version(number: int) -> str:
    """Return a document of `PARTS` chunks, each of which carries the number of its version."""
    return "\n\n".join(
        f"In version {number} the shelf {part} of the hall holds {part + 1} green bottles of olive oil."
        for part in range(PARTS)
    )


def versions_in(results: Iterable[retrieved_chunk_pb2.RetrievedChunk]) -> dict[str, list[str]]:
    """Return the numbers that the chunks of each document carry."""
    found: dict[str, list[str]] = {}
    for result in results:
        found.setdefault(result.chunk.document_id, []).extend(_MARK.findall(result.chunk.text))
    return found


async def test_readers_beside_writers_see_whole_versions_only(client: RagClient, collection: str) -> None:
    names = ["first", "second"]
    chunking = {"chunking": CHUNKING}
    for name in names:
        await client.ingest_text(collection, version(0), name, **chunking)
    writers_are_done = asyncio.Event()
    answers = 0

    async def write(name: str) -> None:
        for number in range(1, REVISIONS):
            await client.ingest_text(collection, version(number), name, **chunking)

    async def read() -> None:
        nonlocal answers
        while not writers_are_done.is_set():
            response = await client.search(collection, QUERY, top_k=50, candidate_count=50)
            for name, numbers in versions_in(response.results).items():
                assert len(set(numbers)) == 1, (name, numbers)
            answers += 1

    readers = [asyncio.create_task(read()) for _ in range(READERS)]
    try:
        await asyncio.gather(*(write(name) for name in names))
    finally:
        writers_are_done.set()
        await asyncio.gather(*readers)

    assert answers >= READERS
    last = versions_in((await client.search(collection, QUERY, top_k=50)).results)
    assert last == {name: [str(REVISIONS - 1)] * PARTS for name in names}


async def test_delete_beside_ingest_and_search_is_final(
    server: ServerUnderTest, client: RagClient, collection: str
) -> None:
    await client.ingest_text(collection, version(0), "doomed", chunking=CHUNKING)
    jobs = [
        (await client.submit(collection, version(number), "doomed", chunking=CHUNKING)).id
        for number in range(1, 5)
    ]
    is_deleted = asyncio.Event()
    is_over = asyncio.Event()

    async def read() -> int:
        count = 0
        while not is_over.is_set():
            must_be_empty = is_deleted.is_set()
            response = await client.search(collection, QUERY, top_k=50)
            assert not (must_be_empty and response.results)
            count += must_be_empty
        return count

    readers = [asyncio.create_task(read()) for _ in range(4)]
    try:
        await client.documents.DeleteDocument(
            document_pb.DeleteDocumentRequest(collection_id=collection, document_id="doomed")
        )
        is_deleted.set()
        ended = [await client.end_of(job_id) for job_id in jobs]
        assert not (await client.search(collection, QUERY)).results
    finally:
        is_over.set()
        counts = await asyncio.gather(*readers)

    assert all(counts)
    assert {job.state for job in ended} <= {
        ingest_pb.JOB_STATE_CANCELLED,
        ingest_pb.JOB_STATE_SUCCEEDED,  # before the delete
        ingest_pb.JOB_STATE_FAILED,  # superseded, likewise
    }
    with pytest.raises(grpc.aio.AioRpcError):
        await client.documents.GetDocument(
            document_pb.GetDocumentRequest(collection_id=collection, document_id="doomed")
        )
    parts = server.running.parts
    await Sweeper(parts.database, parts.chunks, parts.blobs).sweep()
    async with parts.database.snapshot() as tx:
        found = await tx.collections.get("default", collection)
    assert (found.document_count, found.chunk_count) == (0, 0)
    assert await parts.chunks.count(found) == 0
