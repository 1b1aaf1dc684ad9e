from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rag.v1.ingest_service_pb2 import UploadDocumentRequest, UploadResume, UploadStart
from rag_server.errors import DeadlineExceeded, InvalidArgument
from rag_server.services.upload import open_upload, pieces_of

IDLE_S = 60.0
START = UploadDocumentRequest(start=UploadStart(collection_id="books"))

RESUME = UploadDocumentRequest(resume=UploadResume(upload_id="u", offset=3))


def data(content: bytes) -> UploadDocumentRequest:
    return UploadDocumentRequest(data=content)


async def stream(*requests: UploadDocumentRequest) -> AsyncIterator[UploadDocumentRequest]:
    for request in requests:
        yield request


async def test_upload_is_a_start_and_then_pieces() -> None:
    start, pieces = await open_upload(stream(START, data(b"a"), data(b""), data(b"b")), IDLE_S)
    assert isinstance(start, UploadStart)
    assert start.collection_id == "books"
    assert [piece async for piece in pieces] == [b"a", b"", b"b"]


async def test_upload_that_resumes_says_where_and_goes_on_with_pieces() -> None:
    resume, pieces = await open_upload(stream(RESUME, data(b"a")), IDLE_S)
    assert resume == RESUME.resume
    assert [piece async for piece in pieces] == [b"a"]


async def test_upload_whose_client_sends_nothing_is_ended() -> None:
    async def silent(*requests: UploadDocumentRequest) -> AsyncIterator[UploadDocumentRequest]:
        for request in requests:
            yield request
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded) as caught:
        await open_upload(silent(), 0.01)
    assert (caught.value.reason, caught.value.metadata) == ("STREAM_IDLE", {"limit_s": "0.01"})
    _, pieces = await open_upload(silent(START, data(b"a")), 0.01)
    assert await anext(pieces) == b"a"
    with pytest.raises(DeadlineExceeded) as caught:
        await anext(pieces)
    assert caught.value.reason == "STREAM_IDLE"


async def test_upload_of_a_start_alone_has_no_pieces() -> None:
    _, pieces = await open_upload(stream(START), IDLE_S)
    assert [piece async for piece in pieces] == []


@pytest.mark.parametrize("requests", [(), (data(b"a"), START), (UploadDocumentRequest(),)])
async def test_upload_without_a_start_first_is_refused(requests: tuple[UploadDocumentRequest, ...]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await open_upload(stream(*requests), IDLE_S)
    assert caught.value.reason == "INVALID_UPLOAD"
    assert caught.value.violations[0].field == "part"


@pytest.mark.parametrize("later", [START, RESUME, UploadDocumentRequest()])
async def test_upload_with_a_start_later_is_refused(later: UploadDocumentRequest) -> None:
    _, pieces = await open_upload(stream(START, data(b"a"), later), IDLE_S)
    assert await anext(pieces) == b"a"
    with pytest.raises(InvalidArgument) as caught:
        await anext(pieces)
    assert caught.value.reason == "INVALID_UPLOAD"


async def test_pieces_of_bytes_is_one_piece() -> None:
    assert [piece async for piece in pieces_of(b"abc")] == [b"abc"]
