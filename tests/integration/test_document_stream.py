"""IngestDocuments against a real server: every item is answered, in order, whatever is wrong with others."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from rag.v1 import chunking_pb2
from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from rag.v1 import metadata_pb2 as metadata_pb
from rag_server.domain.priority import Priority
from tests.rag_client import RagClient, ServerUnderTest, failure, next_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODE = grpc.StatusCode


def start(collection: str, **fields: Any) -> pb.IngestDocumentsRequest:
    return pb.IngestDocumentsRequest(start=pb.IngestDocumentsStart(collection_id=collection, **fields))


def item(item_id: str, text: str = "", **fields: Any) -> pb.IngestDocumentsRequest:
    """Return an item; the name of its document is its own unless `document` says otherwise."""
    fields.setdefault("document", pb.DocumentSpec(document_id=item_id))
    made = pb.IngestDocumentsItem(item_id=item_id, **fields)
    if text:
        made.text = text
    return pb.IngestDocumentsRequest(item=made)


async def answers_to(
    client: RagClient, requests: Iterable[pb.IngestDocumentsRequest]
) -> list[pb.IngestDocumentsResponse]:
    """Send the requests and return all responses."""
    return [each async for each in client.ingest.IngestDocuments(iter(requests), timeout=60)]


async def test_items_are_answered_in_order_and_become_searchable(client: RagClient, collection: str) -> None:
    texts = {f"doc-{number}": f"Heron number {number} waits by the river." for number in range(8)}
    requests = [start(collection), *(item(name, text) for name, text in texts.items())]

    opened, *responses = await answers_to(client, requests)

    assert not opened.HasField("item")
    assert (opened.window.item_count, opened.window.content_bytes) == (32, 16 * 1024 * 1024)
    assert [each.item.item_id for each in responses] == list(texts)
    assert [each.item.job.document_id for each in responses] == list(texts)
    assert responses[-1].window.item_count == 32 + len(texts)
    sent = sum(len(text.encode()) for text in texts.values())
    assert responses[-1].window.content_bytes == 16 * 1024 * 1024 + sent
    for response in responses:
        ended = await client.end_of(response.item.job.id)
        assert ended.state == pb.JOB_STATE_SUCCEEDED
    assert (await client.search(collection, "heron")).results


async def test_item_that_is_wrong_is_answered_with_its_error_and_the_others_go_on(
    client: RagClient, collection: str
) -> None:
    await client.collections.UpdateCollection(
        collection_pb.UpdateCollectionRequest(
            collection_id=collection,
            collection=collection_pb.Collection(
                metadata_fields=[
                    metadata_pb.MetadataField(name="year", type=metadata_pb.METADATA_TYPE_INTEGER)
                ]
            ),
            update_mask=FieldMask(paths=["metadata_fields"]),
        )
    )
    wrong_type = pb.DocumentSpec(metadata={"year": metadata_pb.MetadataValue(string_value="x")})
    requests = [
        start(collection),
        item("fine", "The first is fine."),
        item("no-source"),
        item("", "It has no name.", document=pb.DocumentSpec()),
        item("scheme", uri="ftp://example.org/x"),
        item("type", "Its year is a text.", document=wrong_type),
        item("media", "x", document=pb.DocumentSpec(media_type="video/mp4")),
        item("bad-name", "x", document=pb.DocumentSpec(document_id="/etc")),
        item("large", data=b"x" * (4 * 1024 * 1024 + 1)),
        item("last", "The last is fine, too."),
    ]

    _, *responses = await answers_to(client, requests)

    outcomes = {
        each.item.item_id: (
            each.item.error.reason,
            [violation.field for violation in each.item.error.violations],
        )
        for each in responses
    }
    assert outcomes == {
        "fine": ("", []),
        "no-source": ("INVALID_REQUEST", ["source"]),
        "": ("INVALID_REQUEST", ["item_id"]),
        "scheme": ("UNSUPPORTED_URI_SCHEME", ["uri"]),
        "type": ("METADATA_TYPE_MISMATCH", ["document.metadata.year"]),
        "media": ("UNSUPPORTED_MEDIA_TYPE", ["document.media_type"]),
        "bad-name": ("INVALID_REQUEST", ["document.document_id"]),
        "large": ("DOCUMENT_TOO_LARGE", []),
        "last": ("", []),
    }
    assert [each.item.item_id for each in responses] == [each.item.item_id for each in requests[1:]]
    by_id = {each.item.item_id: each.item for each in responses}
    assert dict(by_id["large"].error.metadata) == {"limit_bytes": str(4 * 1024 * 1024)}
    assert not by_id["large"].error.HasField("retry_after_ms")
    assert by_id["type"].error.message
    assert by_id["fine"].job.id
    assert by_id["last"].job.id


async def test_items_of_a_start_with_a_request_id_are_accepted_once(
    client: RagClient, collection: str
) -> None:
    opening = start(collection, request_id=str(uuid.uuid4()))
    requests = [opening, item("a", "One."), item("b", "Two.")]

    first = await answers_to(client, requests)
    again = await answers_to(client, requests)
    other = await answers_to(client, [opening, item("a", "Another text."), item("c", "Three.")])

    ids = [each.item.job.id for each in first[1:]]
    assert all(ids)
    assert [each.item.job.id for each in again[1:]] == ids
    assert other[1].item.error.reason == "REQUEST_ID_REUSED"
    assert other[2].item.job.id not in {"", *ids}
    jobs = await client.ingest.ListJobs(pb.ListJobsRequest(collection_id=collection))
    assert len(jobs.jobs) == 3


async def test_item_with_a_request_id_of_its_own_goes_by_that(client: RagClient, collection: str) -> None:
    own = str(uuid.uuid4())
    document = pb.DocumentSpec(document_id="x")
    made = [
        await answers_to(
            client,
            [
                start(collection, request_id=str(uuid.uuid4())),
                item("a", "One.", request_id=own, document=document),
            ],
        )
        for _ in range(2)
    ]
    assert made[0][1].item.job.id == made[1][1].item.job.id != ""


async def test_jobs_of_a_stream_are_bulk_unless_the_start_says_otherwise(
    server: ServerUnderTest, client: RagClient, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag_server.metadata.jobs import JobRepository

    seen: list[Priority] = []
    create = JobRepository.create

    async def noting(self: JobRepository, *arguments: Any, **options: Any) -> Any:
        seen.append(options["priority"])
        return await create(self, *arguments, **options)

    monkeypatch.setattr(JobRepository, "create", noting)
    await answers_to(client, [start(collection), item("a", "One.")])
    await answers_to(client, [start(collection, priority=pb.INGEST_PRIORITY_INTERACTIVE), item("b", "Two.")])
    assert seen == [Priority.BULK, Priority.INTERACTIVE]


async def test_chunking_of_the_start_holds_for_items_that_say_nothing(
    client: RagClient, collection: str
) -> None:
    text = "\n\n".join(f"Paragraph {number} of some words that follow." for number in range(40))
    small = chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(max_tokens=16, overlap_ratio=0))
    large = chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(max_tokens=200, overlap_ratio=0))
    requests = [start(collection, chunking=small), item("a", text), item("b", text, chunking=large)]

    _, *responses = await answers_to(client, requests)

    for response in responses:
        await client.end_of(response.item.job.id)
    counts = {
        name: (
            await client.documents.GetDocument(
                document_pb.GetDocumentRequest(collection_id=collection, document_id=name)
            )
        ).document.chunk_count
        for name in ("a", "b")
    }
    assert counts["a"] > 2 * counts["b"] > 0


@pytest.mark.parametrize(
    ("requests", "reason", "field"),
    [
        ([], "INVALID_DOCUMENT_STREAM", "part"),
        ([item("a", "x")], "INVALID_DOCUMENT_STREAM", "part"),
        ([pb.IngestDocumentsRequest()], "INVALID_REQUEST", "part"),
        ([start("")], "INVALID_REQUEST", "start.collection_id"),
        ([start("x", request_id="no uuid")], "INVALID_REQUEST", "start.request_id"),
    ],
)
async def test_stream_that_does_not_begin_with_a_valid_start_is_refused(
    client: RagClient, requests: list[pb.IngestDocumentsRequest], reason: str, field: str
) -> None:
    refused = await failure(client.ingest.IngestDocuments(iter(requests)))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, reason)
    assert list(refused.violations) == [field]


async def test_stream_into_a_missing_collection_is_refused(client: RagClient) -> None:
    refused = await failure(client.ingest.IngestDocuments(iter([start("nowhere"), item("a", "x")])))
    assert (refused.code, refused.reason) == (CODE.NOT_FOUND, "COLLECTION_NOT_FOUND")


@pytest.mark.parametrize("later", [start("again"), pb.IngestDocumentsRequest()])
async def test_items_before_a_message_out_of_turn_are_answered_and_the_stream_ends(
    client: RagClient, collection: str, later: pb.IngestDocumentsRequest
) -> None:
    call = client.ingest.IngestDocuments(iter([start(collection), item("a", "One."), later, item("b", "x")]))
    assert not (await next_of(call)).HasField("item")
    assert (await next_of(call)).item.item_id == "a"
    refused = await failure(call)
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "INVALID_DOCUMENT_STREAM")


async def test_client_gets_each_answer_before_it_sends_the_next_item(
    client: RagClient, collection: str
) -> None:
    call = client.ingest.IngestDocuments(timeout=60)
    await call.write(start(collection))
    assert not (await next_of(call)).HasField("item")
    for name in ("a", "b", "c"):
        await call.write(item(name, f"Text {name}."))
        async with asyncio.timeout(20):
            assert (await next_of(call)).item.item_id == name
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_many_items_within_the_window_all_come_through(client: RagClient, collection: str) -> None:
    """The client of the contract: it never has more under way than the last window allows."""
    total = 100
    allowed = 0
    opened = asyncio.Condition()
    answered: list[str] = []

    async def requests() -> AsyncIterator[pb.IngestDocumentsRequest]:
        yield start(collection)
        for number in range(total):
            async with opened:
                await opened.wait_for(lambda number=number: number < allowed)  # type: ignore[misc]
            yield item(f"d{number}", f"Text number {number}.")

    async for response in client.ingest.IngestDocuments(requests(), timeout=120):
        async with opened:
            allowed = response.window.item_count
            opened.notify_all()
        if response.HasField("item"):
            assert response.item.HasField("job"), response
            answered.append(response.item.item_id)
    assert answered == [f"d{number}" for number in range(total)]
