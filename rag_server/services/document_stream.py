"""One call of IngestDocuments: items in, answers out, in the same order."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator

from rag.v1 import ingest_service_pb2 as pb
from rag_server.domain.priority import Priority
from rag_server.errors import Internal, RagError, Unavailable
from rag_server.interceptors.idle import lively
from rag_server.services.acceptance import Acceptance
from rag_server.services.inbox import Inbox, invalid_stream
from rag_server.validation.validator import check

_PRIORITIES = {
    pb.INGEST_PRIORITY_UNSPECIFIED: Priority.BULK,
    pb.INGEST_PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    pb.INGEST_PRIORITY_BULK: Priority.BULK,
}


class DocumentStream:
    """Answers the items of one stream; what is wrong with one of them does not concern the others."""

    def __init__(
        self,
        acceptance: Acceptance,
        stopping: asyncio.Event,
        start: pb.IngestDocumentsStart,
        inbox: Inbox,
    ) -> None:
        """Take the first message, and the inbox of the others. `stopping` is set when the server stops."""
        self._acceptance = acceptance
        self._stopping = stopping
        self._start = start
        self._inbox = inbox

    async def responses(self) -> AsyncGenerator[pb.IngestDocumentsResponse, None]:
        """Yield the answers, each with the window as it is then.

        Whoever closes the generator early leaves no staged bytes behind. Raises what the client did wrong
        with the stream as a whole, and `Unavailable` (`SERVER_STOPPING`).
        """
        inbox = self._inbox
        tasks = [asyncio.create_task(inbox.fill()), asyncio.create_task(self._refuse_when_stopping())]
        try:
            yield pb.IngestDocumentsResponse(window=inbox.window)
            while (item := await inbox.take()) is not None:
                answer = await self._answer(item)
                await inbox.answered(item)
                yield pb.IngestDocumentsResponse(item=answer, window=inbox.window)
            await tasks[0]  # it may have broken of something that no client can do
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _refuse_when_stopping(self) -> None:
        await self._stopping.wait()
        await self._inbox.refuse(
            Unavailable(
                "SERVER_STOPPING", "the server is stopping: send the items again that were not answered"
            )
        )

    async def _answer(self, item: pb.IngestDocumentsItem) -> pb.IngestDocumentsAnswer:
        try:
            check(item)
            job = await self._acceptance.accept(
                self._request_of(item), priority=_PRIORITIES[self._start.priority]
            )
        except Internal:
            raise  # ours, not the item's
        except RagError as error:
            return pb.IngestDocumentsAnswer(item_id=item.item_id, error=_to_item_error(error))
        return pb.IngestDocumentsAnswer(item_id=item.item_id, job=job)

    def _request_of(self, item: pb.IngestDocumentsItem) -> pb.IngestDocumentRequest:
        """Return the request that would hand in the item by itself."""
        start = self._start
        request = pb.IngestDocumentRequest(collection_id=start.collection_id, request_id=item.request_id)
        if start.request_id and not item.request_id:
            request.request_id = str(uuid.uuid5(uuid.UUID(start.request_id), item.item_id))
        if item.HasField("document"):
            request.document.CopyFrom(item.document)
        chunked = item if item.HasField("chunking") else start
        if chunked.HasField("chunking"):
            request.chunking.CopyFrom(chunked.chunking)
        match item.WhichOneof("source"):
            case "text":
                request.text = item.text
            case "data":
                request.data = item.data
            case _:
                request.uri = item.uri
        return request


async def open_document_stream(
    requests: AsyncIterator[pb.IngestDocumentsRequest], idle_s: float
) -> pb.IngestDocumentsStart:
    """Return the start of a stream of documents, which has to come within `idle_s` seconds.

    Raises `InvalidArgument` (`INVALID_DOCUMENT_STREAM`, or as the message breaks the rules) and
    `DeadlineExceeded` (`STREAM_IDLE`).
    """
    async for first in lively(requests, idle_s):
        check(first)
        if first.WhichOneof("part") == "start":
            return first.start
        break
    raise invalid_stream("the first message has to be `start`")


def _to_item_error(error: RagError) -> pb.IngestDocumentsItemError:
    return pb.IngestDocumentsItemError(
        reason=error.reason,
        message=error.message,
        metadata=error.metadata,
        violations=[
            pb.IngestDocumentsViolation(field=each.field, description=each.description)
            for each in error.violations
        ],
        retry_after_ms=None if error.retry_after_s is None else max(1, round(error.retry_after_s * 1000)),
    )
