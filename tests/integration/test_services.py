"""Each RPC against the embedded server, over gRPC, with the real model and stores."""

from __future__ import annotations

import hashlib
import re
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from rag.v1 import admin_service_pb2 as admin_pb
from rag.v1 import chunking_pb2, filter_pb2, fusion_pb2, options_pb2, retrieved_chunk_pb2
from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag.v1 import metadata_pb2 as metadata_pb
from rag.v1 import retrieve_service_pb2 as retrieve_pb
from rag_server.domain.document import MediaType
from tests.documents import pdf
from tests.rag_client import RagClient, ServerUnderTest, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODE = grpc.StatusCode
HERON = "The grey heron waits by the river at dawn. It eats small fish and frogs."
BREAD = "Rye bread needs a long fermentation. The oven must be very hot."
SPANISH = "La garza real espera junto al río al amanecer. Come peces pequeños y ranas."


def new_name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


def value(given: Any) -> metadata_pb.MetadataValue:
    match given:
        case bool():
            return metadata_pb.MetadataValue(boolean_value=given)
        case int():
            return metadata_pb.MetadataValue(integer_value=given)
        case float():
            return metadata_pb.MetadataValue(double_value=given)
        case str():
            return metadata_pb.MetadataValue(string_value=given)
        case datetime():
            moment = Timestamp()
            moment.FromDatetime(given)
            return metadata_pb.MetadataValue(timestamp_value=moment)
        case _:
            return metadata_pb.MetadataValue(string_list_value=metadata_pb.StringList(values=given))


def found(response: retrieve_pb.RetrieveResponse) -> list[str]:
    return [each.chunk.document_id for each in response.results]


# CollectionService


async def test_create_collection_gives_what_was_asked_and_the_servers_part(client: RagClient) -> None:
    name = new_name()
    created = await client.create_collection(
        name,
        display_name="Birds",
        language="es",
        labels={"team": "a"},
        metadata_fields=[metadata_pb.MetadataField(name="year", type=metadata_pb.METADATA_TYPE_INTEGER)],
        chunking=chunking_pb2.Chunking(characters=chunking_pb2.CharacterChunking()),
    )
    assert (created.id, created.display_name, created.language) == (name, "Birds", "es")
    assert (created.dimension, created.embedding_model) == (384, "sentence-transformers/all-MiniLM-L6-v2")
    assert created.chunking.characters.max_characters == 2000
    assert created.document_count == 0
    shown = await client.collections.GetCollection(collection_pb.GetCollectionRequest(collection_id=name))
    assert shown.collection == created


async def test_create_collection_twice_is_refused_unless_it_is_the_same_call(client: RagClient) -> None:
    name, request_id = new_name(), str(uuid.uuid4())
    request = collection_pb.CreateCollectionRequest(
        collection_id=name, collection=collection_pb.Collection(), request_id=request_id
    )
    first = await client.collections.CreateCollection(request)
    assert await client.collections.CreateCollection(request) == first

    other = await failure(client.create_collection(name))
    assert (other.code, other.reason) == (CODE.ALREADY_EXISTS, "COLLECTION_ALREADY_EXISTS")
    assert other.metadata == {"resource": "collection", "id": name}

    request.collection.display_name = "another"
    reused = await failure(client.collections.CreateCollection(request))
    assert (reused.code, reused.reason) == (CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED")


@pytest.mark.parametrize("name", ["", "UPPER", "with space", "-x", "x" * 65, "ñ"])
async def test_create_collection_with_a_bad_name_names_the_field(client: RagClient, name: str) -> None:
    refused = await failure(client.create_collection(name))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert list(refused.violations) == ["collection_id"]


async def test_create_collection_in_an_unknown_language_is_refused(client: RagClient) -> None:
    refused = await failure(client.create_collection(new_name(), language="tlh"))
    assert refused.reason == "UNSUPPORTED_LANGUAGE"
    assert list(refused.violations) == ["collection.language"]


async def test_list_collections_pages_through_all_by_id(client: RagClient) -> None:
    names = sorted([new_name() for _ in range(3)])
    for name in names:
        await client.create_collection(name)
    listed: list[str] = []
    token = ""
    while True:
        page = await client.collections.ListCollections(
            collection_pb.ListCollectionsRequest(page_size=2, page_token=token)
        )
        assert len(page.collections) <= 2
        listed += [each.id for each in page.collections]
        token = page.next_page_token
        if not token:
            break
    assert listed == sorted(listed)
    assert set(names) <= set(listed)


async def test_list_collections_with_a_foreign_token_is_refused(client: RagClient) -> None:
    refused = await failure(
        client.collections.ListCollections(collection_pb.ListCollectionsRequest(page_token="AAAA"))
    )
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_update_collection_changes_what_the_mask_names(client: RagClient, collection: str) -> None:
    await client.collections.UpdateCollection(
        collection_pb.UpdateCollectionRequest(
            collection_id=collection,
            collection=collection_pb.Collection(display_name="A", description="B", labels={"x": "1"}),
            update_mask=FieldMask(paths=["display_name", "description", "labels"]),
        )
    )
    response = await client.collections.UpdateCollection(
        collection_pb.UpdateCollectionRequest(
            collection_id=collection,
            collection=collection_pb.Collection(display_name="", description="ignored"),
            update_mask=FieldMask(paths=["display_name", "labels"]),
        )
    )
    updated = response.collection
    assert (updated.display_name, updated.description, dict(updated.labels)) == ("", "B", {})


@pytest.mark.parametrize("path", ["language", "revision", "no_such_field"])
async def test_update_collection_of_a_fixed_field_is_refused(
    client: RagClient, collection: str, path: str
) -> None:
    refused = await failure(
        client.collections.UpdateCollection(
            collection_pb.UpdateCollectionRequest(
                collection_id=collection,
                collection=collection_pb.Collection(),
                update_mask=FieldMask(paths=[path]),
            )
        )
    )
    assert refused.code is CODE.INVALID_ARGUMENT
    assert all(each.startswith("update_mask") for each in refused.violations)


async def test_collection_that_does_not_exist_is_not_found_by_any_method(client: RagClient) -> None:
    name = new_name()
    calls = [
        client.collections.GetCollection(collection_pb.GetCollectionRequest(collection_id=name)),
        client.collections.DeleteCollection(collection_pb.DeleteCollectionRequest(collection_id=name)),
        client.collections.UpdateCollection(
            collection_pb.UpdateCollectionRequest(
                collection_id=name,
                collection=collection_pb.Collection(),
                update_mask=FieldMask(paths=["display_name"]),
            )
        ),
        client.submit(name, HERON),
        client.search(name, "heron"),
        client.documents.ListDocuments(document_pb.ListDocumentsRequest(collection_id=name)),
        client.documents.GetDocument(document_pb.GetDocumentRequest(collection_id=name, document_id="a")),
        client.documents.ListChunks(document_pb.ListChunksRequest(collection_id=name, document_id="a")),
        client.documents.DeleteDocument(
            document_pb.DeleteDocumentRequest(collection_id=name, document_id="a")
        ),
        client.ingest.ListJobs(ingest_pb.ListJobsRequest(collection_id=name)),
        client.ingest.UploadDocument(iter([upload_start(name)])),
        client.retrieve.Analyze(retrieve_pb.AnalyzeRequest(text="x", collection_id=name)),
        client.generate.Generate(generate_pb.GenerateRequest(collection_ids=[name], question="x")),
        client.generate.StreamGenerate(
            generate_pb.StreamGenerateRequest(collection_ids=[name], question="x")
        ),
    ]
    for call in calls:
        refused = await failure(call)
        assert (refused.code, refused.reason) == (CODE.NOT_FOUND, "COLLECTION_NOT_FOUND")
        assert refused.metadata["id"] == name


async def test_collection_that_does_not_exist_is_named_among_those_that_are_searched(
    client: RagClient,
) -> None:
    collection = new_name()
    await client.create_collection(collection)
    names = [collection, new_name()]
    one = retrieve_pb.RetrieveRequest(collection_ids=names, query="x")
    fine = retrieve_pb.RetrieveRequest(collection_ids=[collection], query="x")
    question: dict[str, Any] = {"collection_ids": names, "question": "x"}
    for call, field in (
        (client.retrieve.Retrieve(one), "collection_ids[1]"),
        (
            client.retrieve.BatchRetrieve(retrieve_pb.BatchRetrieveRequest(requests=[fine, one])),
            "requests[1].collection_ids[1]",
        ),
        (client.generate.Generate(generate_pb.GenerateRequest(**question)), "collection_ids[1]"),
        (client.generate.StreamGenerate(generate_pb.StreamGenerateRequest(**question)), "collection_ids[1]"),
    ):
        refused = await failure(call)
        assert (refused.code, refused.reason) == (CODE.NOT_FOUND, "COLLECTION_NOT_FOUND")
        assert list(refused.violations) == [field]


async def test_collection_deleted_and_made_again_shows_nothing_of_the_old(client: RagClient) -> None:
    name = new_name()
    await client.create_collection(name)
    await client.ingest_text(name, HERON, "old")
    await client.collections.DeleteCollection(collection_pb.DeleteCollectionRequest(collection_id=name))
    assert (await failure(client.search(name, "heron"))).reason == "COLLECTION_NOT_FOUND"
    await client.create_collection(name)
    assert found(await client.search(name, "heron")) == []
    listed = await client.documents.ListDocuments(document_pb.ListDocumentsRequest(collection_id=name))
    assert not listed.documents
    jobs = await client.ingest.ListJobs(ingest_pb.ListJobsRequest(collection_id=name))
    assert not jobs.jobs
    await client.ingest_text(name, BREAD, "new")
    assert set(found(await client.search(name, "heron bread"))) == {"new"}


# IngestService


def upload_start(collection_id: str, **fields: Any) -> ingest_pb.UploadDocumentRequest:
    document = ingest_pb.DocumentSpec(document_id="up")
    return ingest_pb.UploadDocumentRequest(
        start=ingest_pb.UploadStart(collection_id=collection_id, document=document, **fields)
    )


def upload_data(content: bytes, size: int = 1000) -> Iterator[ingest_pb.UploadDocumentRequest]:
    for start in range(0, len(content), size):
        yield ingest_pb.UploadDocumentRequest(data=content[start : start + size])


async def test_ingest_text_becomes_searchable_and_counted(client: RagClient, collection: str) -> None:
    job = await client.ingest_text(collection, HERON, "heron", title="Birds")
    assert (job.document_id, job.document_revision, job.attempt_count) == ("heron", 1, 1)
    assert job.progress.chunk_count == job.progress.indexed_chunk_count == 1
    assert job.progress.size_bytes == len(HERON)
    response = await client.search(collection, "which bird waits near water?")
    (result,) = response.results
    assert (result.chunk.document_id, result.chunk.title, result.rank) == ("heron", "Birds", 1)
    assert result.chunk.text in HERON
    shown = await client.collections.GetCollection(
        collection_pb.GetCollectionRequest(collection_id=collection)
    )
    assert (shown.collection.document_count, shown.collection.chunk_count) == (1, 1)
    assert response.collection_revisions[0].revision == shown.collection.revision == 1


async def test_ingest_bytes_are_detected_and_keep_pages(client: RagClient, collection: str) -> None:
    job = await client.submit(
        collection,
        document_id="p",
        data=pdf([[("BodyText", HERON)], [("BodyText", BREAD)]]),
        file_name="a.pdf",
    )
    job = await client.end_of(job.id)
    assert job.state == ingest_pb.JOB_STATE_SUCCEEDED, job.error
    assert job.progress.page_count == 2
    (result, *_) = (await client.search(collection, "rye bread fermentation")).results
    assert result.chunk.media_type == "application/pdf"
    assert result.chunk.pages.last == 2


async def test_ingest_without_an_id_is_named_after_the_file(client: RagClient, collection: str) -> None:
    job = await client.submit(collection, HERON, file_name="heron.txt")
    assert job.document_id == "heron.txt"
    await client.end_of(job.id)


async def test_ingest_with_a_request_id_is_done_once(client: RagClient, collection: str) -> None:
    request_id = str(uuid.uuid4())
    jobs = [await client.submit(collection, HERON, "a", request_id=request_id) for _ in range(2)]
    assert jobs[0].id == jobs[1].id
    assert (await client.end_of(jobs[0].id)).document_revision == 1
    again = await client.submit(collection, HERON, "a", request_id=request_id)
    assert again.id == jobs[0].id
    other = await failure(client.submit(collection, BREAD, "a", request_id=request_id))
    assert other.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": b"%PDF-1.7 broken"}, "DOCUMENT_CORRUPT"),
        ({"data": b"   \n "}, "DOCUMENT_EMPTY"),
        ({"data": b"\x89PNG\r\n\x1a\n" + b"\0" * 100}, "UNSUPPORTED_MEDIA_TYPE"),
        ({"data": HERON.encode(), "media_type": "application/pdf"}, "MEDIA_TYPE_MISMATCH"),
        ({"uri": "http://user:secret@example.org/a"}, "URI_INVALID"),
    ],
)
async def test_ingest_of_a_bad_document_fails_its_job_with_the_reason(
    client: RagClient, collection: str, fields: dict[str, Any], reason: str
) -> None:
    submitted = await client.submit(collection, document_id="bad", **fields)
    job = await client.end_of(submitted.id)
    assert (job.state, job.error.reason) == (ingest_pb.JOB_STATE_FAILED, reason)
    assert job.error.message
    refused = await failure(
        client.documents.GetDocument(
            document_pb.GetDocumentRequest(collection_id=collection, document_id="bad")
        )
    )
    assert refused.reason == "DOCUMENT_NOT_FOUND"


@pytest.mark.parametrize("uri", ["ftp://example.org/a", "file:///etc/passwd", "example.org/a"])
async def test_ingest_of_a_uri_of_another_scheme_is_refused_at_once(
    client: RagClient, collection: str, uri: str
) -> None:
    refused = await failure(client.submit(collection, uri=uri))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "UNSUPPORTED_URI_SCHEME")
    assert set(refused.violations) == {"uri"}


async def test_ingest_of_no_bytes_is_refused_at_once(client: RagClient, collection: str) -> None:
    refused = await failure(client.submit(collection, data=b""))
    assert refused.code is CODE.INVALID_ARGUMENT
    assert refused.reason in {"DOCUMENT_EMPTY", "INVALID_REQUEST"}


async def test_ingest_of_metadata_of_another_type_names_the_field(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, HERON, "a", metadata={"year": value(1990)})
    refused = await failure(client.submit(collection, HERON, "b", metadata={"year": value("x")}))
    assert refused.reason == "METADATA_TYPE_MISMATCH"
    assert list(refused.violations) == ["document.metadata.year"]


async def test_upload_arrives_in_pieces_with_its_digest(client: RagClient, collection: str) -> None:
    content = (HERON * 50).encode()
    digest = hashlib.sha256(content).hexdigest()
    response = await client.ingest.UploadDocument(
        iter([upload_start(collection, sha256=digest), *upload_data(content)])
    )
    assert (response.size_bytes, response.sha256) == (len(content), digest)
    job = await client.end_of(response.job.id)
    assert job.state == ingest_pb.JOB_STATE_SUCCEEDED
    assert set(found(await client.search(collection, "heron"))) == {"up"}


async def test_upload_with_another_digest_is_refused(client: RagClient, collection: str) -> None:
    refused = await failure(
        client.ingest.UploadDocument(
            iter([upload_start(collection, sha256="0" * 64), *upload_data(HERON.encode())])
        )
    )
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "CHECKSUM_MISMATCH")
    assert list(refused.violations) == ["start.sha256"]


async def test_upload_over_the_limit_is_refused(
    client: RagClient, collection: str, server: ServerUnderTest
) -> None:
    limit = server.settings.storage.max_document_bytes
    refused = await failure(
        client.ingest.UploadDocument(
            iter([upload_start(collection), *upload_data(b"x" * (limit + 1), 1024 * 1024)])
        )
    )
    assert (refused.code, refused.reason) == (CODE.RESOURCE_EXHAUSTED, "DOCUMENT_TOO_LARGE")
    assert refused.metadata == {"limit_bytes": str(limit)}


async def test_upload_without_a_start_is_refused(client: RagClient) -> None:
    refused = await failure(client.ingest.UploadDocument(upload_data(b"abc")))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "INVALID_UPLOAD")


@pytest.fixture
def site() -> Iterator[str]:
    """Serve one page on loopback; return its URI."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"# Heron\n\n{HERON}\n".encode()
            is_found = self.path == "/heron"
            self.send_response(200 if is_found else 404)
            self.send_header("Content-Type", "text/markdown; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


async def test_ingest_by_uri_fetches_the_document(client: RagClient, collection: str, site: str) -> None:
    job = await client.end_of((await client.submit(collection, uri=f"{site}/heron")).id)
    assert job.state == ingest_pb.JOB_STATE_SUCCEEDED, job.error
    (result,) = (await client.search(collection, "heron")).results
    assert (result.chunk.source_uri, result.chunk.media_type) == (f"{site}/heron", "text/markdown")


async def test_ingest_by_uri_of_a_missing_page_fails_the_job(
    client: RagClient, collection: str, site: str
) -> None:
    job = await client.end_of((await client.submit(collection, uri=f"{site}/nope")).id)
    assert (job.state, job.error.reason) == (ingest_pb.JOB_STATE_FAILED, "URI_FETCH_FAILED")
    assert job.error.metadata["http_status"] == "404"


async def test_list_jobs_pages_newest_first_and_filters(client: RagClient, collection: str) -> None:
    jobs = [await client.ingest_text(collection, HERON, f"d{number}") for number in range(3)]
    failed = await client.submit(collection, data=b" ", document_id="bad")
    await client.end_of(failed.id)
    expected = [failed.id, *(job.id for job in reversed(jobs))]
    listed: list[str] = []
    token = ""
    while True:
        page = await client.ingest.ListJobs(
            ingest_pb.ListJobsRequest(collection_id=collection, page_size=3, page_token=token)
        )
        listed += [job.id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert listed == expected

    only = await client.ingest.ListJobs(
        ingest_pb.ListJobsRequest(collection_id=collection, states=[ingest_pb.JOB_STATE_FAILED])
    )
    assert [job.id for job in only.jobs] == [failed.id]
    of_one = await client.ingest.ListJobs(
        ingest_pb.ListJobsRequest(collection_id=collection, document_id="d1")
    )
    assert [job.id for job in of_one.jobs] == [jobs[1].id]


async def test_list_jobs_with_the_token_of_another_query_is_refused(
    client: RagClient, collection: str
) -> None:
    for number in range(2):
        await client.ingest_text(collection, HERON, f"d{number}")
    page = await client.ingest.ListJobs(ingest_pb.ListJobsRequest(collection_id=collection, page_size=1))
    assert page.next_page_token
    refused = await failure(
        client.ingest.ListJobs(ingest_pb.ListJobsRequest(page_size=1, page_token=page.next_page_token))
    )
    assert refused.reason == "INVALID_PAGE_TOKEN"


async def test_watch_job_resumes_after_a_cursor(client: RagClient, collection: str) -> None:
    job = await client.ingest_text(collection, HERON, "a")

    async def watch(cursor: str) -> list[Any]:
        request = ingest_pb.WatchJobRequest(job_id=job.id, cursor=cursor)
        return [each async for each in client.ingest.WatchJob(request)]

    everything = await watch("0")
    assert [each.job.sequence for each in everything] == list(range(1, job.sequence + 1))
    states = [each.job.state for each in everything]
    assert states == sorted(states)
    assert states[-1] == ingest_pb.JOB_STATE_SUCCEEDED
    assert await watch(everything[2].cursor) == everything[3:]
    assert await watch("") == everything[-1:]
    assert await watch(everything[-1].cursor) == []
    shown = await client.ingest.GetJob(ingest_pb.GetJobRequest(job_id=job.id))
    assert shown.job == everything[-1].job


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "٣", "9" * 18, "9" * 19, "9" * 64])
async def test_watch_job_with_a_cursor_of_nobody_is_refused(
    client: RagClient, collection: str, cursor: str
) -> None:
    job = await client.ingest_text(collection, HERON, "a")
    refused = await failure(client.ingest.WatchJob(ingest_pb.WatchJobRequest(job_id=job.id, cursor=cursor)))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "INVALID_CURSOR")
    assert list(refused.violations) == ["cursor"]


async def test_job_that_does_not_exist_is_not_found(client: RagClient) -> None:
    for call in (
        client.ingest.GetJob(ingest_pb.GetJobRequest(job_id="nope")),
        client.ingest.WatchJob(ingest_pb.WatchJobRequest(job_id="nope")),
        client.ingest.CancelJob(ingest_pb.CancelJobRequest(job_id="nope")),
        client.ingest.RetryJob(ingest_pb.RetryJobRequest(job_id="nope")),
    ):
        assert (await failure(call)).reason == "JOB_NOT_FOUND"


async def test_cancel_job_ends_it_and_leaves_nothing(client: RagClient, collection: str) -> None:
    paragraphs = "\n\n".join(f"Paragraph {number}. {HERON} {BREAD}" * 4 for number in range(60))
    job = await client.submit(collection, paragraphs, "long")
    response = await client.ingest.CancelJob(ingest_pb.CancelJobRequest(job_id=job.id))
    assert response.job.cancel_requested
    ended = await client.end_of(job.id)
    assert ended.state == ingest_pb.JOB_STATE_CANCELLED
    again = await client.ingest.CancelJob(ingest_pb.CancelJobRequest(job_id=job.id))
    assert again.job == ended
    assert found(await client.search(collection, "heron")) == []


async def test_cancel_job_that_has_succeeded_leaves_it(client: RagClient, collection: str) -> None:
    job = await client.ingest_text(collection, HERON, "a")
    response = await client.ingest.CancelJob(ingest_pb.CancelJobRequest(job_id=job.id))
    assert response.job == job
    assert found(await client.search(collection, "heron")) == ["a"]


async def test_retry_job_takes_up_a_failed_one_under_a_new_revision(
    client: RagClient, collection: str
) -> None:
    job = await client.submit(collection, document_id="broken", data=b"%PDF-1.7 and nothing else")
    failed = await client.end_of(job.id)
    assert failed.state == ingest_pb.JOB_STATE_FAILED
    response = await client.ingest.RetryJob(ingest_pb.RetryJobRequest(job_id=job.id))
    assert (response.job.id, response.job.attempt_count) == (job.id, 0)
    assert not response.job.HasField("error")
    again = await client.end_of(job.id)
    assert (again.state, again.error.reason) == (failed.state, failed.error.reason)
    assert (failed.document_revision, again.document_revision) == (1, 2)


async def test_retry_job_that_has_not_failed_is_refused(client: RagClient, collection: str) -> None:
    job = await client.ingest_text(collection, HERON, "a")
    refused = await failure(client.ingest.RetryJob(ingest_pb.RetryJobRequest(job_id=job.id)))
    assert (refused.code, refused.reason) == (CODE.FAILED_PRECONDITION, "JOB_NOT_FAILED")
    assert found(await client.search(collection, "heron")) == ["a"]


# DocumentService


async def test_document_ingested_again_is_replaced(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, HERON, "a")
    first = await get_document(client, collection, "a")
    await client.ingest_text(collection, BREAD, "a")
    second = await get_document(client, collection, "a")
    assert (first.revision, second.revision) == (1, 2)
    assert second.create_time == first.create_time
    assert second.sha256 == hashlib.sha256(BREAD.encode()).hexdigest()
    for query in ("heron river", "rye bread"):
        texts = [each.chunk.text for each in (await client.search(collection, query)).results]
        assert texts
        assert not any("heron" in text for text in texts)
    chunks = await client.documents.ListChunks(
        document_pb.ListChunksRequest(collection_id=collection, document_id="a")
    )
    assert {each.document_revision for each in chunks.chunks} == {2}


async def get_document(client: RagClient, collection: str, document_id: str) -> document_pb.Document:
    request = document_pb.GetDocumentRequest(collection_id=collection, document_id=document_id)
    return (await client.documents.GetDocument(request)).document


async def test_document_deleted_is_hidden_at_once(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, HERON, "a")
    await client.ingest_text(collection, BREAD, "b")
    response = await client.documents.DeleteDocument(
        document_pb.DeleteDocumentRequest(collection_id=collection, document_id="a")
    )
    assert response.collection_revision == 3
    assert found(await client.search(collection, "heron river")) == ["b"]
    for call in (
        client.documents.GetDocument(
            document_pb.GetDocumentRequest(collection_id=collection, document_id="a")
        ),
        client.documents.ListChunks(document_pb.ListChunksRequest(collection_id=collection, document_id="a")),
        client.documents.DeleteDocument(
            document_pb.DeleteDocumentRequest(collection_id=collection, document_id="a")
        ),
    ):
        assert (await failure(call)).reason == "DOCUMENT_NOT_FOUND"
    listed = await client.documents.ListDocuments(document_pb.ListDocumentsRequest(collection_id=collection))
    assert [each.id for each in listed.documents] == ["b"]
    again = await client.ingest_text(collection, HERON, "a")
    assert again.document_revision == 2
    assert "a" in found(await client.search(collection, "heron river"))


async def test_delete_document_with_a_request_id_may_be_repeated(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, HERON, "a")
    request = document_pb.DeleteDocumentRequest(
        collection_id=collection, document_id="a", request_id=str(uuid.uuid4())
    )
    first = await client.documents.DeleteDocument(request)
    assert await client.documents.DeleteDocument(request) == first


async def test_list_documents_pages_by_id(client: RagClient, collection: str) -> None:
    for number in (2, 0, 1):
        await client.ingest_text(collection, HERON, f"d{number}", metadata={"number": value(number)})
    first = await client.documents.ListDocuments(
        document_pb.ListDocumentsRequest(collection_id=collection, page_size=2)
    )
    second = await client.documents.ListDocuments(
        document_pb.ListDocumentsRequest(
            collection_id=collection, page_size=2, page_token=first.next_page_token
        )
    )
    documents = [*first.documents, *second.documents]
    assert [each.id for each in documents] == ["d0", "d1", "d2"]
    assert [each.metadata["number"].integer_value for each in documents] == [0, 1, 2]
    assert not second.next_page_token


async def test_list_chunks_pages_in_order_and_covers_the_text(client: RagClient, collection: str) -> None:
    text = "\n\n".join(f"Paragraph {number}. {HERON} {BREAD}" for number in range(20))
    job = await client.ingest_text(collection, text, "a")
    chunks: list[Any] = []
    token = ""
    while True:
        page = await client.documents.ListChunks(
            document_pb.ListChunksRequest(
                collection_id=collection, document_id="a", page_size=2, page_token=token
            )
        )
        assert len(page.chunks) <= 2
        chunks += page.chunks
        token = page.next_page_token
        if not token:
            break
    assert [each.ordinal for each in chunks] == list(range(job.progress.chunk_count))
    assert len(chunks) > 3
    covered = 0
    for chunk in chunks:
        assert text[chunk.span.start : chunk.span.end] == chunk.text
        assert not text[covered : chunk.span.start].strip()
        covered = chunk.span.end
    assert not text[covered:].strip()


# RetrieveService


MOMENT = datetime(2026, 6, 1, 12, tzinfo=UTC)
SHELF: dict[str, dict[str, Any]] = {
    "a": {
        "name": "ábaco",
        "year": 1990,
        "price": 9.5,
        "open": True,
        "date": MOMENT,
        "tags": ["x", "y"],
    },
    "b": {"name": "abeja", "year": 2000, "price": 20.0, "open": False, "tags": ["y", "z"]},
    "c": {"year": 2010},
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stocked(server: ServerUnderTest) -> str:
    """Return the name of the collection that the tests of filters share."""
    name = new_name()
    await server.client.create_collection(name)
    for document_id, metadata in SHELF.items():
        await server.client.ingest_text(
            name,
            f"{HERON} {document_id}",
            document_id,
            metadata={field: value(each) for field, each in metadata.items()},
        )
    return name


def compare(field: str, operator: str, given: Any) -> filter_pb2.Filter:
    number = filter_pb2.ComparisonOperator.Value(f"COMPARISON_OPERATOR_{operator}")
    return filter_pb2.Filter(
        comparison=filter_pb2.ComparisonFilter(field=field, operator=number, value=value(given))
    )


def member(field: str, *given: Any) -> filter_pb2.Filter:
    return filter_pb2.Filter(membership=filter_pb2.MembershipFilter(field=field, values=map(value, given)))


def within(field: str, **bounds: Any) -> filter_pb2.Filter:
    return filter_pb2.Filter(
        range=filter_pb2.RangeFilter(field=field, **{name: value(each) for name, each in bounds.items()})
    )


def has(field: str) -> filter_pb2.Filter:
    return filter_pb2.Filter(exists=filter_pb2.ExistsFilter(field=field))


def starts(field: str, prefix: str) -> filter_pb2.Filter:
    return filter_pb2.Filter(prefix=filter_pb2.PrefixFilter(field=field, prefix=prefix))


def combine(**parts: list[filter_pb2.Filter]) -> filter_pb2.Filter:
    return filter_pb2.Filter(boolean=filter_pb2.BooleanFilter(**parts))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (compare("metadata.name", "EQUAL", "ábaco"), "a"),
        (compare("metadata.name", "NOT_EQUAL", "ábaco"), "b"),
        (compare("metadata.year", "LESS", 2000), "a"),
        (compare("metadata.year", "LESS_OR_EQUAL", 2000), "ab"),
        (compare("metadata.year", "GREATER", 2000), "c"),
        (compare("metadata.year", "GREATER_OR_EQUAL", 1999.5), "bc"),
        (compare("metadata.open", "EQUAL", True), "a"),
        (compare("metadata.open", "EQUAL", False), "b"),
        (compare("metadata.price", "EQUAL", 20), "b"),
        (compare("metadata.date", "EQUAL", MOMENT), "a"),
        (compare("metadata.date", "GREATER", MOMENT), ""),
        (compare("document_id", "EQUAL", "c"), "c"),
        (compare("media_type", "EQUAL", "text/plain"), "abc"),
        (member("metadata.year", 1990, 2010), "ac"),
        (member("metadata.tags", "x"), "a"),
        (member("metadata.tags", "x", "z"), "ab"),
        (within("metadata.year", greater_than=1990, less_or_equal=2010), "bc"),
        (within("metadata.price", greater_or_equal=9.5, less_than=20.0), "a"),
        (within("metadata.date", less_or_equal=MOMENT), "a"),
        (has("metadata.tags"), "ab"),
        (starts("metadata.name", "á"), "a"),
        (starts("metadata.name", "a"), "b"),
        (starts("metadata.name", "%"), ""),
        (combine(must=[has("metadata.name"), compare("metadata.year", "GREATER", 1995)]), "b"),
        (combine(should=[compare("document_id", "EQUAL", each) for each in "ac"]), "ac"),
        (combine(must_not=[has("metadata.tags")]), "c"),
        (combine(must=[combine(must_not=[compare("metadata.open", "EQUAL", True)])]), "bc"),
    ],
)
async def test_retrieve_filter_leaves_what_it_says(
    client: RagClient, stocked: str, condition: filter_pb2.Filter, expected: str
) -> None:
    response = await client.search(stocked, "heron", filter=condition)
    assert "".join(sorted(found(response))) == expected


@pytest.mark.parametrize(
    ("condition", "reason", "path"),
    [
        (has("metadata.nope"), "UNKNOWN_FILTER_FIELD", "options.filter.exists.field"),
        (compare("metadata.year", "EQUAL", "x"), "FILTER_TYPE_MISMATCH", "options.filter.comparison.value"),
        (within("metadata.name", less_than=3), "FILTER_TYPE_MISMATCH", "options.filter.range.field"),
    ],
)
async def test_retrieve_with_a_wrong_filter_names_its_place(
    client: RagClient, stocked: str, condition: filter_pb2.Filter, reason: str, path: str
) -> None:
    refused = await failure(client.search(stocked, "heron", filter=condition))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, reason)
    assert list(refused.violations) == [path]


async def test_retrieve_explains_each_result(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, HERON, "heron")
    await client.ingest_text(collection, BREAD, "bread")
    fusion = fusion_pb2.Fusion(rrf=fusion_pb2.RrfFusion())
    response = await client.search(collection, "heron at the river", top_k=1, fusion=fusion)
    (result,) = response.results
    assert result.chunk.document_id == "heron"
    assert (result.signals.dense.rank, result.signals.lexical.rank) == (1, 1)
    assert 0 < result.signals.dense.score <= 1
    assert result.score == result.signals.fused_score == pytest.approx(2 / 61)
    assert response.score_scale == retrieved_chunk_pb2.SCORE_SCALE_RRF
    assert not response.degradations
    stages = {each.stage for each in response.timings.stages}
    assert stages == {"analyze", "embed", "search", "fuse"}


async def test_retrieve_of_several_collections_ranks_them_together(
    client: RagClient, collection: str
) -> None:
    other = new_name()
    await client.create_collection(other, language="es")
    await client.ingest_text(collection, HERON, "en")
    await client.ingest_text(other, SPANISH, "es")
    response = await client.search([collection, other], "garza heron")
    assert {each.chunk.collection_id for each in response.results} == {collection, other}
    assert {each.collection_id for each in response.collection_revisions} == {collection, other}


async def test_retrieve_of_stop_words_without_vectors_is_refused(client: RagClient) -> None:
    name = new_name()
    await client.create_collection(name, language="en")
    fusion = fusion_pb2.Fusion(rrf=fusion_pb2.RrfFusion(dense_weight=0.0))
    refused = await failure(client.search(name, "the of and", fusion=fusion))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "QUERY_HAS_NO_TERMS")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"top_k": 0}, "options.top_k"),
        ({"top_k": 10_000}, "options.top_k"),
        ({"candidate_count": 0}, "options.candidate_count"),
    ],
)
async def test_retrieve_with_numbers_out_of_range_names_the_field(
    client: RagClient, collection: str, fields: dict[str, int], path: str
) -> None:
    refused = await failure(client.search(collection, "x", **fields))
    assert (refused.code, list(refused.violations)) == (CODE.INVALID_ARGUMENT, [path])


async def test_batch_retrieve_answers_as_retrieve_does(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, HERON, "heron")
    await client.ingest_text(collection, BREAD, "bread")
    queries = ["rye bread", "heron"]
    batch = await client.retrieve.BatchRetrieve(
        retrieve_pb.BatchRetrieveRequest(
            requests=[
                retrieve_pb.RetrieveRequest(collection_ids=[collection], query=query) for query in queries
            ]
        )
    )
    single = [await client.search(collection, query) for query in queries]
    assert [found(each) for each in batch.responses] == [found(each) for each in single]
    assert [found(each)[0] for each in batch.responses] == ["bread", "heron"]
    assert batch.timings.total_us > 0


async def test_batch_retrieve_names_the_request_that_is_wrong(client: RagClient, collection: str) -> None:
    refused = await failure(
        client.retrieve.BatchRetrieve(
            retrieve_pb.BatchRetrieveRequest(
                requests=[
                    retrieve_pb.RetrieveRequest(collection_ids=[collection], query="x"),
                    retrieve_pb.RetrieveRequest(collection_ids=[collection], query=""),
                ]
            )
        )
    )
    assert list(refused.violations) == ["requests[1].query"]


async def test_batch_retrieve_names_the_filter_that_is_wrong(client: RagClient, collection: str) -> None:
    refused = await failure(
        client.retrieve.BatchRetrieve(
            retrieve_pb.BatchRetrieveRequest(
                requests=[
                    retrieve_pb.RetrieveRequest(collection_ids=[collection], query="x"),
                    retrieve_pb.RetrieveRequest(
                        collection_ids=[collection],
                        query="x",
                        options=options_pb2.RetrievalOptions(filter=has("metadata.nope")),
                    ),
                ]
            )
        )
    )
    assert list(refused.violations) == ["requests[1].options.filter.exists.field"]


async def test_embed_gives_unit_vectors_in_order(client: RagClient) -> None:
    texts = ["heron", "a grey heron", "rye bread"]
    response = await client.retrieve.Embed(retrieve_pb.EmbedRequest(texts=texts))
    vectors = np.array([each.values for each in response.embeddings])
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert [each.token_count > 0 for each in response.embeddings] == [True] * 3
    assert response.model == "sentence-transformers/all-MiniLM-L6-v2"


async def test_embed_of_nothing_is_refused(client: RagClient) -> None:
    refused = await failure(client.retrieve.Embed(retrieve_pb.EmbedRequest()))
    assert list(refused.violations) == ["texts"]


async def test_analyze_shows_each_step(client: RagClient) -> None:
    response = await client.retrieve.Analyze(
        retrieve_pb.AnalyzeRequest(text="The running rivers", language="en")
    )
    assert list(response.lexemes) == ["run", "river"]
    assert [each.is_stop_word for each in response.tokens] == [True, False, False]
    assert [each.surface for each in response.tokens] == ["The", "running", "rivers"]
    assert response.language == "en"


async def test_analyze_in_a_regional_language_says_whose_rules_were_used(client: RagClient) -> None:
    response = await client.retrieve.Analyze(retrieve_pb.AnalyzeRequest(text="las garzas", language="es-CL"))
    assert (response.language, list(response.lexemes)) == ("es", ["garz"])


async def test_analyze_as_a_collection_does(client: RagClient) -> None:
    name = new_name()
    await client.create_collection(name, language="es")
    response = await client.retrieve.Analyze(
        retrieve_pb.AnalyzeRequest(text="las garzas", collection_id=name)
    )
    assert response.language == "es"
    assert list(response.lexemes) == ["garz"]


async def test_analyze_in_an_unknown_language_is_refused(client: RagClient) -> None:
    refused = await failure(client.retrieve.Analyze(retrieve_pb.AnalyzeRequest(text="x", language="tlh")))
    assert refused.reason == "UNSUPPORTED_LANGUAGE"
    assert list(refused.violations) == ["language"]


# GenerateService


async def test_generate_quotes_and_cites_its_sources(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, HERON, "heron")
    await client.ingest_text(collection, BREAD, "bread")
    response = await client.generate.Generate(
        generate_pb.GenerateRequest(collection_ids=[collection], question="What does the heron eat?")
    )
    assert "small fish and frogs" in response.answer
    assert response.finish_reason == generate_pb.FINISH_REASON_COMPLETE
    assert response.citations
    for citation in response.citations:
        source = response.sources[citation.source_index].chunk
        assert (source.id, source.document_id) == (citation.chunk_id, citation.document_id)
        assert source.text[citation.source_span.start : citation.source_span.end] == citation.quote
        answered = response.answer[citation.answer_span.start : citation.answer_span.end]
        assert " ".join(citation.quote.split()) in " ".join(answered.split())


async def test_generate_abstains_without_relevant_content(client: RagClient, collection: str) -> None:
    response = await client.generate.Generate(
        generate_pb.GenerateRequest(collection_ids=[collection], question="What does the heron eat?")
    )
    assert response.finish_reason == generate_pb.FINISH_REASON_NO_RELEVANT_CONTENT
    assert response.answer
    assert not response.citations


async def test_stream_generate_is_generate_in_pieces(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, HERON, "heron")
    fields: dict[str, Any] = {"collection_ids": [collection], "question": "What does the heron eat?"}
    whole = await client.generate.Generate(generate_pb.GenerateRequest(**fields))
    events = [
        each async for each in client.generate.StreamGenerate(generate_pb.StreamGenerateRequest(**fields))
    ]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[:2] == ["started", "retrieved"]
    assert kinds[-2:] == ["usage", "finished"]
    assert re.fullmatch("(delta )+(citation |delta )*", "".join(f"{kind} " for kind in kinds[2:-2]))
    assert "".join(event.delta.text for event in events) == whole.answer
    assert [event.citation for event in events if event.HasField("citation")] == list(whole.citations)
    assert events[0].started.model == whole.model
    assert events[1].retrieved.sources == whole.sources
    assert events[-2].usage == whole.usage
    assert events[-1].finished.reason == whole.finish_reason


async def test_generate_without_a_question_is_refused(client: RagClient, collection: str) -> None:
    refused = await failure(
        client.generate.StreamGenerate(generate_pb.StreamGenerateRequest(collection_ids=[collection]))
    )
    assert list(refused.violations) == ["question"]


# AdminService


async def test_server_info_names_models_limits_and_parts(client: RagClient, server: ServerUnderTest) -> None:
    info = await client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())
    assert info.version
    assert info.embedding_model.dimension == 384
    assert info.embedding_model.window_tokens == 256
    assert list(info.generators)
    assert set(info.media_types) == set(MediaType)
    assert {"text/plain", "text/markdown", "text/html", "application/pdf"} < set(info.media_types)
    assert {"en", "es", "mul"} <= set(info.languages)
    assert info.limits.document_bytes == server.settings.storage.max_document_bytes
    assert info.limits.waiting_jobs == server.settings.ingest.max_waiting_jobs
    assert info.limits.conversations == server.settings.conversations.max_conversations
    assert all(limit > 0 for _, limit in info.limits.ListFields())
    assert len(info.limits.ListFields()) == len(info.limits.DESCRIPTOR.fields)
    assert {each.name: each.is_serving for each in info.components} == dict.fromkeys(
        ("metadata", "chunks", "embedder", "ingest"), True
    )
    assert info.unfinished_job_count >= 0
