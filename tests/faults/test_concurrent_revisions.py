"""Readers beside writers: whole versions only, and nothing of what was deleted (F15)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import grpc
import pytest

from rag.v1 import chunking_pb2, retrieved_chunk_pb2
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.testing.orphans import assert_no_orphans
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
    await assert_no_orphans(parts.database, parts.chunks, parts.blobs, collection_id=collection)
    async with parts.database.snapshot() as tx:
        found = await tx.collections.get("default", collection)
    assert (found.document_count, found.chunk_count) == (0, 0)
    assert await parts.chunks.count(found) == 0


class Doomed:
    """A document that is ingested, restored and deleted at once, by callers that may come too late."""

    def __init__(self, client: RagClient, collection: str) -> None:
        self._client = client
        self._collection = collection
        self._named = {"collection_id": collection, "document_id": "doomed"}
        self.job_ids: list[str] = []
        self.is_over = asyncio.Event()
        self.gone_since: int | None = None
        """Number of the turn whose last delete was answered, until somebody ingests again."""
        self.answers_without = 0

    async def ingest(self, number: int) -> None:
        job = await self._client.submit(self._collection, version(number), "doomed", chunking=CHUNKING)
        self.job_ids.append(job.id)

    async def restore(self, revision: int | None = None) -> None:
        request = document_pb.RestoreDocumentRevisionRequest(**self._named, revision=revision)
        with suppress_not_found():
            self.job_ids.append((await self._client.documents.RestoreDocumentRevision(request)).job.id)

    async def delete(self) -> None:
        with suppress_not_found():
            await self._client.documents.DeleteDocument(document_pb.DeleteDocumentRequest(**self._named))

    async def read(self) -> None:
        while not self.is_over.is_set():
            gone_before = self.gone_since
            response = await self._client.search(self._collection, QUERY, top_k=50)
            assert len({result.chunk.document_revision for result in response.results}) <= 1
            if gone_before is not None and gone_before == self.gone_since:
                assert not response.results
                self.answers_without += 1

    async def some_answers(self) -> None:
        enough = self.answers_without + 8
        while self.answers_without < enough:  # noqa: ASYNC110 - counted by the readers
            await asyncio.sleep(0.01)


@contextmanager
def suppress_not_found() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise


async def test_delete_beside_ingest_restore_and_search_is_final(
    server: ServerUnderTest, client: RagClient, collection: str
) -> None:
    """F15: once a delete has answered, what was handed in before it is not found, for ever."""
    doomed = Doomed(client, collection)
    readers = [asyncio.create_task(doomed.read()) for _ in range(4)]
    try:
        for turn in range(4):
            for number in range(2):
                await client.ingest_text(collection, version(10 * turn + number), "doomed", chunking=CHUNKING)
            await asyncio.gather(
                doomed.ingest(10 * turn + 2),
                doomed.restore(),
                doomed.ingest(10 * turn + 3),
                doomed.delete(),
                doomed.restore(),
                doomed.ingest(10 * turn + 4),
            )
            await doomed.delete()
            doomed.gone_since = turn
            for job_id in doomed.job_ids:
                await client.end_of(job_id)
            await doomed.some_answers()
            doomed.gone_since = None
    finally:
        doomed.is_over.set()
        await asyncio.gather(*readers)

    assert not (await client.search(collection, QUERY)).results
    before = len(doomed.job_ids)
    await doomed.restore(1)
    assert len(doomed.job_ids) == before
    parts = server.running.parts
    await assert_no_orphans(parts.database, parts.chunks, parts.blobs, collection_id=collection)
    async with parts.database.snapshot() as tx:
        found = await tx.collections.get("default", collection)
    assert (found.document_count, found.chunk_count) == (0, 0)
    assert await parts.chunks.count(found) == 0


async def test_two_workers_ingesting_one_document_leave_the_later_whole(
    server: ServerUnderTest, client: RagClient, collection: str
) -> None:
    """The server works on two jobs at once; each reuses the vectors of what it finds visible."""
    await client.ingest_text(collection, version(0), "doc", chunking=CHUNKING)
    jobs = [
        (await client.submit(collection, version(number % 3), "doc", chunking=CHUNKING)).id
        for number in range(1, 9)
    ]
    ended = [await client.end_of(job_id) for job_id in jobs]
    assert ended[-1].state == ingest_pb.JOB_STATE_SUCCEEDED
    assert {job.error.reason for job in ended} <= {"", "SUPERSEDED"}
    found = versions_in((await client.search(collection, QUERY, top_k=50)).results)
    assert found == {"doc": ["2"] * PARTS}
    parts = server.running.parts
    await assert_no_orphans(parts.database, parts.chunks, parts.blobs, collection_id=collection)
