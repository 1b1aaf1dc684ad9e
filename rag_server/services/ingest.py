"""IngestService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from rag.v1 import ingest_service_pb2 as pb
from rag.v1 import ingest_service_pb2_grpc as pb_grpc
from rag_server.backends.protocols import BlobStore
from rag_server.errors import FailedPrecondition, InvalidArgument
from rag_server.ingest.submit import Content, Submitter
from rag_server.ingest.watch import JobFeed, invalid_cursor, watch_job
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction
from rag_server.services.idempotency import Idempotency
from rag_server.services.paging import Pager
from rag_server.services.upload import open_upload, pieces_of
from rag_server.services.wire.collection import from_chunking
from rag_server.services.wire.document import from_spec
from rag_server.services.wire.job import from_states, to_job
from rag_server.validation.defaults import value_or_default

_CURSOR_DIGITS = 18
"""Digits of a sequence number that fits a signed 64-bit integer."""


class IngestServicer(pb_grpc.IngestServiceServicer):
    """Accepts documents and shows their jobs."""

    def __init__(
        self,
        database: Database,
        idempotency: Idempotency,
        submitter: Submitter,
        blobs: BlobStore,
        feed: JobFeed,
        *,
        max_document_bytes: int,
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._submitter = submitter
        self._blobs = blobs
        self._feed = feed
        self._max_document_bytes = max_document_bytes

    async def IngestDocument(
        self, request: pb.IngestDocumentRequest, context: Any
    ) -> pb.IngestDocumentResponse:
        """Accept one document given as text, as bytes or by URI."""
        content = Content(uri=request.uri)
        if request.WhichOneof("source") != "uri":
            data = request.data or request.text.encode()
            content = await self._stage(pieces_of(data))
        return pb.IngestDocumentResponse(job=await self._submit(request, content))

    async def UploadDocument(
        self, request_iterator: AsyncIterator[pb.UploadDocumentRequest], context: Any
    ) -> pb.UploadDocumentResponse:
        """Accept one document as a stream."""
        start, pieces = await open_upload(request_iterator)
        if not start.request_id:  # with one, the answer may be that of an earlier call
            async with self._database.snapshot() as tx:  # before the bytes travel, not after
                await tx.collections.get(current_call.get().tenant_id, start.collection_id)
        content = await self._stage(pieces)
        assert content.staged is not None
        if start.sha256 not in {"", content.staged.sha256}:
            await content.staged.discard()
            raise InvalidArgument.for_field(
                "start.sha256",
                f"the {content.staged.size_bytes} bytes received have another digest: send them again",
                reason="CHECKSUM_MISMATCH",
            )
        job = await self._submit(start, content)
        return pb.UploadDocumentResponse(
            job=job, size_bytes=content.staged.size_bytes, sha256=content.staged.sha256
        )

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        """Show a job."""
        async with self._database.snapshot() as tx:
            job = await tx.jobs.get(current_call.get().tenant_id, request.job_id)
        return pb.GetJobResponse(job=to_job(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """List jobs, newest first."""
        tenant_id = current_call.get().tenant_id
        arguments = (request.collection_id, request.document_id, sorted(request.states))
        pager = Pager(value_or_default(request, "page_size"), request.page_token, *arguments)
        async with self._database.snapshot() as tx:
            collection_uid = None
            if request.collection_id:
                collection_uid = (await tx.collections.get(tenant_id, request.collection_id)).uid
            found = await tx.jobs.list(
                tenant_id,
                collection_uid=collection_uid,
                document_id=request.document_id or None,
                states=from_states(request.states) or None,
                after=(datetime.fromisoformat(pager.after[0]), pager.after[1]) if pager.after else None,
                limit=pager.limit,
            )
        page, token = pager.cut(found, lambda job: [job.create_time.isoformat(), job.id])
        return pb.ListJobsResponse(jobs=map(to_job, page), next_page_token=token)

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: Any
    ) -> AsyncGenerator[pb.WatchJobResponse, None]:
        """Send each change of a job, until it has ended."""
        after = None
        if request.cursor:
            after = _sequence_of(request.cursor)
        changes = watch_job(
            self._database, self._feed, current_call.get().tenant_id, request.job_id, after_sequence=after
        )
        async with aclosing(changes) as jobs:
            async for job in jobs:
                yield pb.WatchJobResponse(job=to_job(job), cursor=str(job.sequence))

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.CancelJobResponse:
        """Ask a job to stop."""
        tenant_id = current_call.get().tenant_id

        async def cancel(tx: Transaction) -> pb.CancelJobResponse:
            try:
                job = await tx.jobs.request_cancel(tenant_id, request.job_id)
            except FailedPrecondition:  # it has ended: the contract leaves it as it is
                job = await tx.jobs.get(tenant_id, request.job_id)
            return pb.CancelJobResponse(job=to_job(job))

        return await self._idempotency.once(request, pb.CancelJobResponse, cancel)

    async def _stage(self, pieces: AsyncIterator[bytes]) -> Content:
        tenant_id = current_call.get().tenant_id
        return Content(await self._blobs.stage(tenant_id, pieces, limit_bytes=self._max_document_bytes))

    async def _submit(self, request: pb.IngestDocumentRequest | pb.UploadStart, content: Content) -> pb.Job:
        call = current_call.get()

        async def accept(tx: Transaction) -> pb.Job:
            job = await self._submitter.accept(
                tx,
                call.tenant_id,
                from_spec(request.collection_id, request.document),
                content,
                chunking=from_chunking(request.chunking) if request.HasField("chunking") else None,
                request_id=call.request_id,
                path="start.document" if isinstance(request, pb.UploadStart) else "document",
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
        request_id=request.request_id,
    )
    if content.staged is None:
        identity.uri = content.uri
    else:
        identity.data = bytes.fromhex(content.staged.sha256)
    return identity


def _sequence_of(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > _CURSOR_DIGITS:
        raise invalid_cursor()
    return int(cursor)
