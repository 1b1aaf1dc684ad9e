"""Boxes on pages against a real server: from the parser process, through both stores, to every answer."""

from __future__ import annotations

import pytest

from rag.v1 import chunk_pb2, chunking_pb2, dry_run_pb2
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from rag.v1 import retrieve_service_pb2 as retrieve_pb
from tests.documents import pdf
from tests.rag_client import RagClient

pytestmark = pytest.mark.asyncio(loop_scope="session")
WITH_BOXES = chunking_pb2.Chunking(page_boxes=True)


async def ingest(client: RagClient, collection: str, **fields: object) -> None:
    request = pb.IngestDocumentRequest(
        collection_id=collection,
        document=pb.DocumentSpec(document_id="bees.pdf"),
        data=pdf(),
        **fields,  # type: ignore[arg-type]
    )
    job = (await client.ingest.IngestDocument(request)).job
    assert (await client.end_of(job.id)).state == pb.JOB_STATE_SUCCEEDED


async def listed(client: RagClient, collection: str) -> list[chunk_pb2.Chunk]:
    request = document_pb.ListChunksRequest(collection_id=collection, document_id="bees.pdf", page_size=100)
    return list((await client.documents.ListChunks(request)).chunks)


async def test_boxes_asked_for_are_in_every_answer(client: RagClient, collection: str) -> None:
    await ingest(client, collection, chunking=WITH_BOXES)
    chunks = await listed(client, collection)
    assert chunks
    for chunk in chunks:
        assert [chunk.boxes[0].page, chunk.boxes[-1].page] == [chunk.pages.first, chunk.pages.last]
        for box in chunk.boxes:
            assert 0 <= box.left < box.right <= 1
            assert 0 <= box.top < box.bottom <= 1

    found = await client.retrieve.Retrieve(
        retrieve_pb.RetrieveRequest(collection_ids=[collection], query="How many eggs does the queen lay?")
    )
    boxes = {chunk.id: list(chunk.boxes) for chunk in chunks}
    assert {each.chunk.id: list(each.chunk.boxes) for each in found.results} == {
        each.chunk.id: boxes[each.chunk.id] for each in found.results
    }
    assert found.results

    report = await client.ingest.IngestDocument(
        pb.IngestDocumentRequest(
            collection_id=collection, data=pdf(), chunking=WITH_BOXES, dry_run=dry_run_pb2.DryRun()
        )
    )
    assert [list(each.boxes) for each in report.dry_run.chunks] == [list(chunk.boxes) for chunk in chunks]


async def test_boxes_nobody_asked_for_are_absent(client: RagClient, collection: str) -> None:
    await ingest(client, collection)
    assert all(not chunk.boxes for chunk in await listed(client, collection))


async def test_boxes_that_a_collection_asks_for_are_those_of_its_documents(client: RagClient) -> None:
    name = "with-page-boxes"
    created = await client.create_collection(name, chunking=WITH_BOXES)
    assert created.chunking.page_boxes
    assert created.chunking.tokens.max_tokens == 200
    await ingest(client, name)
    assert all(chunk.boxes for chunk in await listed(client, name))
