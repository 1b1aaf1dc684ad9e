"""BatchDeleteDocuments: by filter and by ids, tried first, bounded, final."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest
import pytest_asyncio

from rag.v1 import document_service_pb2 as pb
from rag.v1 import filter_pb2, metadata_pb2
from rag_server.testing.orphans import assert_no_orphans
from tests.rag_client import RagClient, ServerUnderTest, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = 6


def year(value: int) -> metadata_pb2.MetadataValue:
    return metadata_pb2.MetadataValue(integer_value=value)


def before(value: int) -> filter_pb2.Filter:
    return filter_pb2.Filter(
        comparison=filter_pb2.ComparisonFilter(
            field="metadata.year", operator=filter_pb2.COMPARISON_OPERATOR_LESS, value=year(value)
        )
    )


async def fill(client: RagClient, collection: str) -> None:
    """Hand in a document of each of `COUNT` years."""
    for number in range(COUNT):
        metadata = {"year": year(2000 + number)}
        await client.ingest_text(collection, f"Bottle {number} of oil.", f"doc{number}", metadata=metadata)


@pytest_asyncio.fixture(loop_scope="session")
async def shelf(client: RagClient, collection: str) -> str:
    """Return a collection with documents, which the test may delete."""
    await fill(client, collection)
    return collection


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def untouched(server: ServerUnderTest) -> str:
    """Return a collection with documents, from which no test deletes any."""
    name = f"untouched-{uuid.uuid4().hex[:12]}"
    await server.client.create_collection(name)
    await fill(server.client, name)
    return name


async def names(client: RagClient, collection: str) -> list[str]:
    response = await client.documents.ListDocuments(pb.ListDocumentsRequest(collection_id=collection))
    return [each.id for each in response.documents]


async def delete(client: RagClient, collection: str, **fields: Any) -> pb.BatchDeleteDocumentsResponse:
    return await client.documents.BatchDeleteDocuments(
        pb.BatchDeleteDocumentsRequest(collection_id=collection, **fields)
    )


def ids(given: Sequence[str]) -> pb.DocumentIds:
    return pb.DocumentIds(ids=given)


async def test_delete_by_filter_is_final_for_readers(
    server: ServerUnderTest, client: RagClient, shelf: str
) -> None:
    response = await delete(client, shelf, filter=before(2004))
    assert list(response.document_ids) == ["doc0", "doc1", "doc2", "doc3"]
    assert (response.matched_count, response.deleted_count, response.remaining_count) == (4, 4, 0)
    assert response.collection_revision == COUNT + 4
    assert await names(client, shelf) == ["doc4", "doc5"]
    found = await client.search(shelf, "bottles of oil", top_k=50)
    assert {each.chunk.document_id for each in found.results} == {"doc4", "doc5"}
    parts = server.running.parts
    async with parts.database.snapshot() as tx:
        assert (await tx.collections.get("default", shelf)).document_count == 2


async def test_dry_run_says_what_would_go_and_changes_nothing(client: RagClient, untouched: str) -> None:
    response = await delete(
        client, untouched, filter=before(2002), dry_run=True, request_id=str(uuid.uuid4())
    )
    assert list(response.document_ids) == ["doc0", "doc1"]
    assert (response.matched_count, response.deleted_count, response.remaining_count) == (2, 0, 2)
    assert len(await names(client, untouched)) == COUNT


async def test_call_deletes_no_more_than_it_may_and_says_what_is_left(client: RagClient, shelf: str) -> None:
    left = []
    while not left or left[-1]:
        response = await delete(client, shelf, filter=before(2100), max_documents=4)
        left.append(response.remaining_count)
    assert left == [2, 0]
    assert await names(client, shelf) == []
    response = await delete(client, shelf, filter=before(2100))
    assert (response.matched_count, response.deleted_count, response.remaining_count) == (0, 0, 0)


async def test_delete_by_ids_names_those_that_are_not_there(client: RagClient, shelf: str) -> None:
    response = await delete(client, shelf, documents=ids(["doc1", "absent", "doc3", "doc1"]))
    assert list(response.document_ids) == ["doc1", "doc3"]
    assert list(response.missing_document_ids) == ["absent"]
    assert (response.matched_count, response.deleted_count, response.remaining_count) == (2, 2, 0)
    assert await names(client, shelf) == ["doc0", "doc2", "doc4", "doc5"]


async def test_delete_with_a_request_id_is_done_once(client: RagClient, shelf: str) -> None:
    request_id = str(uuid.uuid4())
    first = await delete(client, shelf, documents=ids(["doc0"]), request_id=request_id)
    await client.ingest_text(shelf, "Bottle 0 again.", "doc0")
    assert await delete(client, shelf, documents=ids(["doc0"]), request_id=request_id) == first
    assert "doc0" in await names(client, shelf)
    request = pb.BatchDeleteDocumentsRequest(
        collection_id=shelf, documents=ids(["doc1"]), request_id=request_id
    )
    assert (await failure(client.documents.BatchDeleteDocuments(request))).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"collection_id": "absent", "filter": before(1)}, "COLLECTION_NOT_FOUND"),
        ({}, "INVALID_REQUEST"),
        ({"filter": filter_pb2.Filter()}, "INVALID_REQUEST"),
        ({"documents": pb.DocumentIds()}, "INVALID_REQUEST"),
        ({"documents": ids([""])}, "INVALID_REQUEST"),
        ({"documents": ids(["a"]), "max_documents": 0}, "INVALID_REQUEST"),
        ({"documents": ids(["a"]), "max_documents": 1001}, "INVALID_REQUEST"),
        ({"documents": ids(["a"]), "request_id": "7"}, "INVALID_REQUEST"),
        (
            {"filter": filter_pb2.Filter(exists=filter_pb2.ExistsFilter(field="metadata.colour"))},
            "UNKNOWN_FILTER_FIELD",
        ),
        (
            {"filter": filter_pb2.Filter(prefix=filter_pb2.PrefixFilter(field="metadata.year", prefix="2"))},
            "FILTER_TYPE_MISMATCH",
        ),
    ],
)
async def test_wrong_request_has_its_reason_and_deletes_nothing(
    client: RagClient, untouched: str, fields: dict[str, Any], reason: str
) -> None:
    request = pb.BatchDeleteDocumentsRequest(**{"collection_id": untouched, **fields})
    assert (await failure(client.documents.BatchDeleteDocuments(request))).reason == reason
    assert len(await names(client, untouched)) == COUNT


async def test_delete_leaves_no_orphans(server: ServerUnderTest, client: RagClient, shelf: str) -> None:
    await delete(client, shelf, filter=before(2100))
    parts = server.running.parts
    async with parts.database.snapshot() as tx:
        found = await tx.collections.get("default", shelf)
    await assert_no_orphans(parts.database, parts.chunks, parts.blobs, collection_id=shelf)
    assert await parts.chunks.count(found) == 0
