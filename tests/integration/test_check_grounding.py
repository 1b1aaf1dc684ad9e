"""CheckGrounding over gRPC: each kind of source, and what wrong input gets, with the real model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio

from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import filter_pb2, metadata_pb2
from rag.v1 import grounding_pb2 as pb
from tests.rag_client import RagClient, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODE = grpc.StatusCode
HERON = "The grey heron waits by the river at dawn. It eats small fish and frogs. A nest holds 4 eggs."
BREAD = "Rye bread needs a long fermentation. A loaf weighs two kilograms."

Check = Callable[..., Awaitable[pb.CheckGroundingResponse]]


@pytest_asyncio.fixture(loop_scope="session")
async def birds(client: RagClient, collection: str) -> str:
    """Return a collection with two documents."""
    await client.ingest_text(collection, HERON, "heron.txt")
    await client.ingest_text(collection, BREAD, "bread.txt")
    return collection


@pytest.fixture
def check(client: RagClient) -> Check:
    def call(text: str, **fields: Any) -> Awaitable[pb.CheckGroundingResponse]:
        request = pb.CheckGroundingRequest(text=text, **fields)
        response: Awaitable[pb.CheckGroundingResponse] = client.generate.CheckGrounding(request, timeout=120)
        return response

    return call


async def test_text_is_checked_against_passages_chunks_and_what_is_found(birds: str, check: Check) -> None:
    text = "The grey heron waits at the river at dawn. A nest holds 7 eggs. Is that so?"
    passages = await check(text, passages=pb.GroundingPassages(texts=["Rye bread is good.", HERON]))
    first, second, third = passages.grounding.sentences
    assert first.score > 0.5 > second.score
    assert not third.HasField("score")
    assert [fact.text for fact in second.missing_facts] == ["7"]
    assert second.missing_facts[0].kind == pb.FACT_KIND_NUMBER
    best = first.supports[0]
    assert (best.source_index, best.chunk_id) == (1, "")
    assert HERON[best.source_span.start : best.source_span.end] == best.quote
    assert best.quote == "The grey heron waits by the river at dawn."
    assert 0 < passages.grounding.score < 1
    assert passages.grounding.supported_share == 0.5
    assert not passages.sources

    found = await check(text, search=pb.GroundingSearch(collection_ids=[birds]))
    assert {each.document_id for each in found.sources} == {"heron.txt", "bread.txt"}
    support = found.grounding.sentences[0].supports[0]
    source = found.sources[support.source_index]
    assert (source.document_id, source.id) == ("heron.txt", support.chunk_id)
    assert source.text[support.source_span.start : support.source_span.end] == support.quote
    assert [each.collection_id for each in found.collection_revisions] == [birds]
    assert {"search", "judge"} <= {stage.stage for stage in found.timings.stages}

    ids = [each.id for each in found.sources if each.document_id == "heron.txt"]
    named = await check(text, chunks=pb.GroundingChunks(collection_id=birds, chunk_ids=ids))
    assert [each.id for each in named.sources] == ids
    assert named.grounding.sentences[0].supports[0].quote == best.quote


async def test_check_searches_only_what_the_filter_lets_pass(birds: str, check: Check) -> None:
    bread = filter_pb2.Filter(
        comparison=filter_pb2.ComparisonFilter(
            field="document_id",
            operator=filter_pb2.COMPARISON_OPERATOR_EQUAL,
            value=metadata_pb2.MetadataValue(string_value="bread.txt"),
        )
    )
    search = pb.GroundingSearch(collection_ids=[birds], filter=bread)
    response = await check("The grey heron waits by the river at dawn.", search=search)
    assert {each.document_id for each in response.sources} == {"bread.txt"}
    assert response.grounding.supported_share == 0.0


async def test_check_of_what_is_not_there_or_too_long_is_refused(
    client: RagClient, birds: str, check: Check
) -> None:
    found = await check("A heron.", search=pb.GroundingSearch(collection_ids=[birds]))
    (heron,) = [each.id for each in found.sources if each.document_id == "heron.txt"]
    await client.ingest_text(birds, "The heron has flown.", "heron.txt")
    for chunk_id in (heron, "nowhere"):
        chunks = pb.GroundingChunks(collection_id=birds, chunk_ids=[chunk_id])
        failed = await failure(check("A heron.", chunks=chunks))
        assert (failed.code, failed.reason) == (CODE.NOT_FOUND, "CHUNK_NOT_FOUND")
    chunks = pb.GroundingChunks(collection_id="nowhere", chunk_ids=[heron])
    absent = pb.GroundingSearch(collection_ids=[birds, "nowhere"])
    for failing, field in (
        (check("x y", chunks=chunks), "chunks.collection_id"),
        (check("x y", search=absent), "search.collection_ids[1]"),
    ):
        failed = await failure(failing)
        assert (failed.reason, list(failed.violations)) == ("COLLECTION_NOT_FOUND", [field])

    search = pb.GroundingSearch(collection_ids=[birds])
    failed = await failure(check("A heron waits. " * 101, search=search))
    assert (failed.code, failed.reason) == (CODE.INVALID_ARGUMENT, "TOO_MANY_SENTENCES")
    assert (failed.metadata["limit"], list(failed.violations)) == ("100", ["text"])
    failed = await failure(check("A heron.", search=search, language="xx"))
    assert (failed.reason, list(failed.violations)) == ("UNSUPPORTED_LANGUAGE", ["language"])
    for fields, field in (
        ({"text": " \n", "search": search}, "text"),
        ({"text": "x"}, "sources"),
        ({"text": "x", "passages": pb.GroundingPassages()}, "passages.texts"),
        (
            {"text": "x", "chunks": pb.GroundingChunks(collection_id=birds, chunk_ids=["a", "a"])},
            "chunks.chunk_ids[1]",
        ),
        (
            {"text": "x", "search": pb.GroundingSearch(collection_ids=[birds, birds])},
            "search.collection_ids[1]",
        ),
    ):
        failed = await failure(check(**fields))
        assert (failed.reason, list(failed.violations)) == ("INVALID_REQUEST", [field])


async def test_deleted_document_supports_nothing_any_more(
    client: RagClient, birds: str, check: Check
) -> None:
    request = document_pb.DeleteDocumentRequest(collection_id=birds, document_id="heron.txt")
    await client.documents.DeleteDocument(request)
    response = await check(
        "The grey heron waits by the river at dawn.", search=pb.GroundingSearch(collection_ids=[birds])
    )
    assert {each.document_id for each in response.sources} == {"bread.txt"}
    assert response.grounding.supported_share == 0.0
