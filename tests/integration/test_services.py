from __future__ import annotations
import grpc
import pytest
from tests.rag_client import RagClient, failure
pytestmark = pytest.mark.asyncio(loop_scope="session")

async def test_ingest_text_is_found(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, "The heron waits by the river.", "a")
    found = await client.search(collection, "where is the heron?")
    assert [each.chunk.document_id for each in found.results] == ["a"]

async def test_err(client: RagClient) -> None:
    f = await failure(client.search("nope", "x"))
    print(f)
    assert f.reason == "COLLECTION_NOT_FOUND"
