from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rag.v1.ingest_service_pb2 import UploadDocumentRequest, UploadStart
from rag_server.errors import InvalidArgument
from rag_server.services.upload import open_upload, pieces_of

START = UploadDocumentRequest(start=UploadStart(collection_id="books"))


def data(content: bytes) -> UploadDocumentRequest:
    return UploadDocumentRequest(data=content)


async def stream(*requests: UploadDocumentRequest) -> AsyncIterator[UploadDocumentRequest]:
    for request in requests:
        yield request


async def test_upload_is_a_start_and_then_pieces() -> None:
    start, pieces = await open_upload(stream(START, data(b"a"), data(b""), data(b"b")))
    assert start.collection_id == "books"
    assert [piece async for piece in pieces] == [b"a", b"", b"b"]


async def test_upload_of_a_start_alone_has_no_pieces() -> None:
    _, pieces = await open_upload(stream(START))
    assert [piece async for piece in pieces] == []


@pytest.mark.parametrize("requests", [(), (data(b"a"), START), (UploadDocumentRequest(),)])
async def test_upload_without_a_start_first_is_refused(requests: tuple[UploadDocumentRequest, ...]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await open_upload(stream(*requests))
    assert caught.value.reason == "INVALID_UPLOAD"
    assert caught.value.violations[0].field == "part"


@pytest.mark.parametrize("later", [START, UploadDocumentRequest()])
async def test_upload_with_a_start_later_is_refused(later: UploadDocumentRequest) -> None:
    _, pieces = await open_upload(stream(START, data(b"a"), later))
    assert await anext(pieces) == b"a"
    with pytest.raises(InvalidArgument) as caught:
        await anext(pieces)
    assert caught.value.reason == "INVALID_UPLOAD"


async def test_pieces_of_bytes_is_one_piece() -> None:
    assert [piece async for piece in pieces_of(b"abc")] == [b"abc"]
