"""The common end of all ways in: the content is staged, the job recorded, once for each request id."""

from __future__ import annotations

from collections.abc import AsyncIterator

from rag.v1 import ingest_service_pb2 as pb
from rag_server.backends.protocols import BlobStore
from rag_server.domain.priority import Priority
from rag_server.ingest.submit import Content, Submitter
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Transaction
from rag_server.services.cutting import cutting_of
from rag_server.services.idempotency import Idempotency
from rag_server.services.trace_context import trace_parent_of
from rag_server.services.upload import pieces_of
from rag_server.services.wire.document import from_spec
from rag_server.services.wire.job import to_job
from rag_server.services.wire.records import from_webhook


class Acceptance:
    """Turns the documents of calls into jobs."""

    def __init__(
        self, idempotency: Idempotency, submitter: Submitter, blobs: BlobStore, *, max_document_bytes: int
    ) -> None:
        self._idempotency = idempotency
        self._submitter = submitter
        self._blobs = blobs
        self._max_document_bytes = max_document_bytes

    async def accept(
        self, request: pb.IngestDocumentRequest, *, priority: Priority = Priority.INTERACTIVE
    ) -> pb.Job:
        """Return the job of a document that came in one message. Raises what `stage` and `submit` raise."""
        content = Content(uri=request.uri)
        if request.WhichOneof("source") != "uri":
            content = await self.stage(pieces_of(request.data or request.text.encode()))
        return await self.submit(request, content, priority=priority)

    async def stage(self, pieces: AsyncIterator[bytes]) -> Content:
        """Receive the bytes of a document. Raises `ResourceExhausted` (`DOCUMENT_TOO_LARGE`, `DISK_FULL`)."""
        tenant_id = current_call.get().tenant_id
        return Content(await self._blobs.stage(tenant_id, pieces, limit_bytes=self._max_document_bytes))

    async def submit(
        self,
        request: pb.IngestDocumentRequest | pb.UploadStart,
        content: Content,
        *,
        priority: Priority = Priority.INTERACTIVE,
    ) -> pb.Job:
        """Return the job, or the one that the same request got before; what is staged is used up.

        Raises what `Submitter.accept` and `Idempotency.once` raise.
        """
        call = current_call.get()

        async def accept(tx: Transaction) -> pb.Job:
            job = await self._submitter.accept(
                tx,
                call.tenant_id,
                from_spec(request.collection_id, request.document),
                content,
                chunking=cutting_of(request),
                request_id=call.request_id,
                path="start.document" if isinstance(request, pb.UploadStart) else "document",
                priority=priority,
                webhook=from_webhook(request.webhook) if request.HasField("webhook") else None,
                trace_parent=trace_parent_of(call.context),
            )
            return to_job(job)

        try:
            return await self._idempotency.once(_identity_of(request, content), pb.Job, accept)
        finally:
            if content.staged:
                await content.staged.discard()


def _identity_of(
    request: pb.IngestDocumentRequest | pb.UploadStart, content: Content
) -> pb.IngestDocumentRequest:
    """Return what makes two requests the same: the request, with the digest in place of its content."""
    identity = pb.IngestDocumentRequest(
        collection_id=request.collection_id,
        document=request.document if request.HasField("document") else None,
        chunking=request.chunking if request.HasField("chunking") else None,
        records=request.records if request.HasField("records") else None,
        webhook=request.webhook if request.HasField("webhook") else None,
        request_id=request.request_id,
    )
    if content.staged is None:
        identity.uri = content.uri
    else:
        identity.data = bytes.fromhex(content.staged.sha256)
    return identity
