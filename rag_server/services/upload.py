"""The protocol of UploadDocument: one start, then bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from rag.v1 import ingest_service_pb2 as pb
from rag_server.errors import InvalidArgument
from rag_server.interceptors.idle import lively


async def open_upload(
    requests: AsyncIterator[pb.UploadDocumentRequest], idle_s: float
) -> tuple[pb.UploadStart | pb.UploadResume, AsyncIterator[bytes]]:
    """Return how an upload begins and the pieces of its content; each has `idle_s` seconds to come.

    Raises `InvalidArgument` (`INVALID_UPLOAD`) when the first message is neither start nor resume, and
    `DeadlineExceeded` (`STREAM_IDLE`); iterating over the pieces raises them, too.
    """
    messages = lively(requests, idle_s)
    async for first in messages:
        match first.WhichOneof("part"):
            case "start":
                return first.start, _pieces(messages)
            case "resume":
                return first.resume, _pieces(messages)
        break
    raise InvalidArgument.for_field(
        "part", "the first message of an upload has to be `start` or `resume`", reason="INVALID_UPLOAD"
    )


async def _pieces(requests: AsyncIterator[pb.UploadDocumentRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "data":
            raise InvalidArgument.for_field(
                "part",
                "only the first message of an upload can be other than `data`",
                reason="INVALID_UPLOAD",
            )
        yield request.data


async def pieces_of(data: bytes) -> AsyncIterator[bytes]:
    """Yield `data` as one piece."""
    yield data
