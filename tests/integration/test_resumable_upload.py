"""Uploads that go on where they broke off, against a real server."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from rag_server.app import running_server
from rag_server.ingest.sweep import Sweeper
from tests.conftest import SettingsFactory
from tests.faults.polling import until
from tests.rag_client import Failure, RagClient, failure

CODE = grpc.StatusCode
COLLECTION = "parts"
PART = 1024
MESSAGE = 512
TEXT = "".join(f"Line {number} says that the heron waits by the river.\n" for number in range(200)).encode()
SEND_FAILED = "Internal error from Core"
"""What grpc.aio says when it was sending as the server's status came."""
SETTINGS = {
    "ingest": {"upload_part_bytes": PART, "max_open_uploads": 3},
    "storage": {"max_document_bytes": 64 * 1024},
}


@pytest.fixture
async def client(settings: SettingsFactory) -> AsyncIterator[RagClient]:
    async with running_server(settings(**SETTINGS)) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        yield client


async def begin(client: RagClient, data: bytes = TEXT, **fields: object) -> pb.Upload:
    request = pb.StartUploadRequest(
        collection_id=COLLECTION,
        document=pb.DocumentSpec(document_id="doc", file_name="doc.txt"),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    request.MergeFrom(pb.StartUploadRequest(**fields))  # type: ignore[arg-type]  # by name
    return (await client.ingest.StartUpload(request)).upload


async def messages(upload_id: str, data: bytes, offset: int) -> AsyncIterator[pb.UploadDocumentRequest]:
    yield pb.UploadDocumentRequest(resume=pb.UploadResume(upload_id=upload_id, offset=offset))
    for start in range(offset, len(data), MESSAGE):
        yield pb.UploadDocumentRequest(data=data[start : start + MESSAGE])


async def send(
    client: RagClient, upload: pb.Upload, data: bytes = TEXT, offset: int = 0
) -> pb.UploadDocumentResponse:
    return await client.ingest.UploadDocument(messages(upload.id, data, offset), timeout=60)


async def refusal(client: RagClient, upload: pb.Upload, offset: int = 0) -> Failure:
    """Return why no call can go on with an upload at `offset`.

    Sends nothing after the first message: while grpc.aio sends, it may report that it cannot, and lose the
    server's status (https://github.com/grpc/grpc/issues/36066).
    """
    call = client.ingest.UploadDocument(timeout=60)
    await call.write(pb.UploadDocumentRequest(resume=pb.UploadResume(upload_id=upload.id, offset=offset)))
    return await failure(call)


async def offset_of(client: RagClient, upload: pb.Upload) -> int:
    return (await client.ingest.GetUpload(pb.GetUploadRequest(upload_id=upload.id))).upload.offset


async def send_and_break(client: RagClient, upload: pb.Upload, count: int, offset: int = 0) -> int:
    """Send `count` bytes and break the stream when they have arrived; return the offset to go on from."""

    async def broken() -> AsyncIterator[pb.UploadDocumentRequest]:
        async for message in messages(upload.id, TEXT[: offset + count], offset):
            yield message
        await asyncio.Event().wait()

    call = client.ingest.UploadDocument(broken())
    safe = offset + count // PART * PART
    async with asyncio.timeout(30):
        while await offset_of(client, upload) < safe:  # noqa: ASYNC110 - nothing sets an event here
            await asyncio.sleep(0.02)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    return await offset_of(client, upload)


async def bytes_of(client: RagClient, document_id: str = "doc") -> bytes:
    request = document_pb.DownloadDocumentRequest(collection_id=COLLECTION, document_id=document_id)
    return b"".join([each.data async for each in client.documents.DownloadDocument(request)])


async def test_upload_that_breaks_goes_on_from_its_last_part(client: RagClient) -> None:
    upload = await begin(client)
    assert (upload.offset, upload.collection_id, upload.HasField("job")) == (0, COLLECTION, False)
    assert upload.expire_time.seconds - upload.create_time.seconds == 86_400

    first = await send_and_break(client, upload, 3 * PART + 700)
    second = await send_and_break(client, upload, PART, offset=first)
    response = await send(client, upload, offset=second)

    assert (first, second) == (3 * PART, 4 * PART)
    assert (response.size_bytes, response.sha256) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
    assert (await client.end_of(response.job.id)).state == pb.JOB_STATE_SUCCEEDED
    assert await bytes_of(client) == TEXT
    assert (await client.search(COLLECTION, "heron river")).results


@pytest.mark.parametrize("offset", [0, 1, PART - 1, PART + 1, len(TEXT)])
async def test_upload_from_a_wrong_offset_is_refused_with_the_right_one(
    client: RagClient, offset: int
) -> None:
    upload = await begin(client)
    assert await send_and_break(client, upload, PART) == PART
    refused = await refusal(client, upload, offset)
    assert (refused.code, refused.reason) == (CODE.FAILED_PRECONDITION, "UPLOAD_OFFSET_MISMATCH")
    assert refused.metadata == {"resource": "upload", "id": upload.id, "offset": str(PART)}
    assert (await send(client, upload, offset=PART)).size_bytes == len(TEXT)


async def test_upload_that_has_ended_is_answered_the_same_again(client: RagClient) -> None:
    upload = await begin(client)
    response = await send(client, upload)
    shown = (await client.ingest.GetUpload(pb.GetUploadRequest(upload_id=upload.id))).upload

    assert await send(client, upload) == response
    assert await send(client, upload, offset=len(TEXT)) == response
    assert shown.job == response.job
    assert shown.offset == len(TEXT)
    assert len((await client.ingest.ListJobs(pb.ListJobsRequest())).jobs) == 1


async def test_upload_with_another_digest_is_refused_and_given_up(client: RagClient) -> None:
    upload = await begin(client, TEXT + b"not sent")
    refused = await failure(send(client, upload))
    gone = await failure(client.ingest.GetUpload(pb.GetUploadRequest(upload_id=upload.id)))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "CHECKSUM_MISMATCH")
    assert list(refused.violations) == ["sha256"]
    assert (gone.code, gone.reason) == (CODE.NOT_FOUND, "UPLOAD_NOT_FOUND")
    assert not (await client.ingest.ListJobs(pb.ListJobsRequest())).jobs


async def test_upload_larger_than_a_document_may_be_is_refused_over_all_calls(client: RagClient) -> None:
    data = b"x" * (64 * 1024 + 1)
    upload = await begin(client, data)
    await send_and_break(client, upload, PART)
    refused = await failure(send(client, upload, data, offset=PART))
    assert (refused.code, refused.reason) == (CODE.RESOURCE_EXHAUSTED, "DOCUMENT_TOO_LARGE")
    assert refused.metadata == {"limit_bytes": str(64 * 1024)}


async def test_start_of_an_upload_says_at_once_what_would_be_refused_in_the_end(client: RagClient) -> None:
    for fields, reason in (
        ({"collection_id": "nowhere"}, "COLLECTION_NOT_FOUND"),
        ({"document": pb.DocumentSpec(media_type="video/mp4")}, "UNSUPPORTED_MEDIA_TYPE"),
    ):
        assert (await failure(begin(client, **fields))).reason == reason


async def test_start_with_a_request_id_opens_one_upload(client: RagClient) -> None:
    request_id = str(uuid.uuid4())
    first = await begin(client, request_id=request_id)
    assert await begin(client, request_id=request_id) == first
    reused = await failure(begin(client, b"other", request_id=request_id))
    assert (reused.code, reused.reason) == (CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_uploads_that_are_open_are_bounded(client: RagClient) -> None:
    uploads = [await begin(client) for _ in range(3)]
    refused = await failure(begin(client))
    assert (refused.code, refused.reason) == (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_UPLOADS")
    assert (refused.metadata, refused.retry_after_s) == ({"limit": "3"}, 60.0)
    await send(client, uploads[0])
    assert (await begin(client)).id


async def test_upload_that_is_cancelled_is_gone_and_makes_room(client: RagClient) -> None:
    upload = await begin(client)
    offset = await send_and_break(client, upload, PART)
    request = pb.CancelUploadRequest(upload_id=upload.id, request_id=str(uuid.uuid4()))

    cancelled = await client.ingest.CancelUpload(request)

    assert cancelled.upload.offset == offset
    assert await client.ingest.CancelUpload(request) == cancelled
    for call in (
        client.ingest.GetUpload(pb.GetUploadRequest(upload_id=upload.id)),
        client.ingest.CancelUpload(pb.CancelUploadRequest(upload_id=upload.id)),
    ):
        assert (await failure(call)).reason == "UPLOAD_NOT_FOUND"
    assert (await refusal(client, upload, offset)).reason == "UPLOAD_NOT_FOUND"
    assert len([await begin(client) for _ in range(3)]) == 3


async def test_cancel_of_an_upload_that_has_ended_leaves_it_as_it_is(client: RagClient) -> None:
    upload = await begin(client)
    response = await send(client, upload)
    cancelled = await client.ingest.CancelUpload(pb.CancelUploadRequest(upload_id=upload.id))
    assert cancelled.upload.job == response.job
    assert (await client.end_of(response.job.id)).state == pb.JOB_STATE_SUCCEEDED
    assert await send(client, upload) == response


async def test_upload_into_a_collection_made_anew_is_refused(client: RagClient) -> None:
    upload = await begin(client)
    await client.collections.DeleteCollection(collection_pb.DeleteCollectionRequest(collection_id=COLLECTION))
    await client.create_collection(COLLECTION)
    refused = await failure(send(client, upload))  # of the whole: only then a job is asked for
    assert (refused.code, refused.reason) == (CODE.NOT_FOUND, "COLLECTION_NOT_FOUND")


async def test_upload_of_no_bytes_is_refused(client: RagClient) -> None:
    refused = await failure(send(client, await begin(client, b""), b""))
    assert refused.reason == "DOCUMENT_EMPTY"


async def test_two_callers_of_one_upload_do_not_mix_their_bytes(client: RagClient) -> None:
    upload = await begin(client)
    both = await asyncio.gather(*(send(client, upload) for _ in range(2)), return_exceptions=True)
    responses = [each for each in both if isinstance(each, pb.UploadDocumentResponse)]
    for each in both:
        if isinstance(each, grpc.aio.AioRpcError) and each.details() != SEND_FAILED:
            assert each.code() is CODE.FAILED_PRECONDITION
    if not responses:  # each was in the other's way: then the caller goes on
        responses = [await send(client, upload, offset=await offset_of(client, upload))]
    await client.end_of(responses[0].job.id)
    assert await bytes_of(client) == TEXT
    assert len((await client.ingest.ListJobs(pb.ListJobsRequest())).jobs) == 1


async def test_upload_survives_a_restart_and_leaves_nothing_but_the_document(
    settings: SettingsFactory,
) -> None:
    used = settings(**SETTINGS)
    blobs = Path(used.storage.data_dir) / "blobs" / "default"
    async with running_server(used) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        upload = await begin(client)
        given_up = await begin(client, b"x")
        offset = await send_and_break(client, upload, 2 * PART + 100)
    async with running_server(used) as server, RagClient(server.address) as client:
        await until(lambda: len([path for path in blobs.rglob("*") if path.is_file()]) == 2)
        assert await offset_of(client, upload) == offset == 2 * PART
        job = (await send(client, upload, offset=offset)).job
        assert (await client.end_of(job.id)).state == pb.JOB_STATE_SUCCEEDED
        assert await bytes_of(client) == TEXT
        parts = server.parts
        await Sweeper(parts.database, parts.chunks, parts.blobs).sweep()
        assert [path.name for path in blobs.rglob("*") if path.is_file()] == [
            hashlib.sha256(TEXT).hexdigest()
        ]
        assert await offset_of(client, given_up) == 0
