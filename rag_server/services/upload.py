"""The protocol of UploadDocument: one start, then bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from rag.v1 import ingest_service_pb2 as pb
from rag_server.errors import InvalidArgument


async def open_upload(
    requests: AsyncIterator[pb.UploadDocumentRequest],
) -> tuple[pb.UploadStart, AsyncIterator[bytes]]:
    """Return the start of an upload and the pieces of its content.

    Raises `InvalidArgument` (`INVALID_UPLOAD`) when the first message is not a start; iterating over the
    pieces raises it when a later one is.
    """
    async for first in requests:
        if first.WhichOneof("part") == "start":
            return first.start, _pieces(requests)
        break
    raise InvalidArgument.for_field(
        "part", "the first message of an upload has to be `start`", reason="INVALID_UPLOAD"
    )


async def _pieces(requests: AsyncIterator[pb.UploadDocumentRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "data":
            raise InvalidArgument.for_field(
                "part", "only the first message of an upload can be `start`", reason="INVALID_UPLOAD"
            )
        yield request.data


async def pieces_of(data: bytes) -> AsyncIterator[bytes]:
    """Yield `data` as one piece."""
    yield data
