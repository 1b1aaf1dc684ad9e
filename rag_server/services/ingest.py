"""IngestService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rag.v1 import ingest_service_pb2 as pb
from rag.v1 import ingest_service_pb2_grpc as pb_grpc
from rag_server.domain.job import Waiting
from rag_server.errors import FailedPrecondition, InvalidArgument
from rag_server.ingest.crawl import CrawlSubmitter
from rag_server.ingest.watch import JobFeed, invalid_cursor, watch_job
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction
from rag_server.services.acceptance import Acceptance
from rag_server.services.document_stream import DocumentStream, open_document_stream
from rag_server.services.idempotency import Idempotency
from rag_server.services.inbox import Inbox
from rag_server.services.paging import Pager
from rag_server.services.rehearsal import Rehearsal
from rag_server.services.resumption import Resumption
from rag_server.services.trace_context import trace_parent_of
from rag_server.services.upload import open_upload
from rag_server.services.wire.collection import from_chunking
from rag_server.services.wire.crawl import from_crawl_request
from rag_server.services.wire.job import from_states, to_job
from rag_server.validation.defaults import value_or_default

_CURSOR_DIGITS = 18
"""Digits of a sequence number that fits a signed 64-bit integer."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds of the streams that clients send."""

    idle_s: float
    """Longest wait for the next message, in seconds."""
    window_items: int
    """Items of IngestDocuments that may be sent ahead of their answers."""
    window_bytes: int
    """Bytes that they may have."""


class IngestServicer(pb_grpc.IngestServiceServicer):
    """Accepts documents and shows their jobs."""

    def __init__(
        self,
        database: Database,
        idempotency: Idempotency,
        acceptance: Acceptance,
        resumption: Resumption,
        rehearsal: Rehearsal,
        crawls: CrawlSubmitter,
        feed: JobFeed,
        *,
        limits: StreamLimits,
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._acceptance = acceptance
        self._resumption = resumption
        self._rehearsal = rehearsal
        self._crawls = crawls
        self._feed = feed
        self._limits = limits

    async def IngestDocument(
        self, request: pb.IngestDocumentRequest, context: Any
    ) -> pb.IngestDocumentResponse:
        """Accept one document given as text, as bytes or by URI, or say what would be made of it."""
        if request.HasField("dry_run"):
            return pb.IngestDocumentResponse(dry_run=await self._rehearsal.report(request))
        return pb.IngestDocumentResponse(job=await self._acceptance.accept(request))

    async def UploadDocument(
        self, request_iterator: AsyncIterator[pb.UploadDocumentRequest], context: Any
    ) -> pb.UploadDocumentResponse:
        """Accept one document as a stream, or what is missing of one."""
        start, pieces = await open_upload(request_iterator, self._limits.idle_s)
        if isinstance(start, pb.UploadResume):
            return await self._resumption.go_on(start, pieces)
        if not start.request_id:  # with one, the answer may be that of an earlier call
            async with self._database.snapshot() as tx:  # before the bytes travel, not after
                await tx.collections.get(current_call.get().tenant_id, start.collection_id)
        content = await self._acceptance.stage(pieces)
        assert content.staged is not None
        if start.sha256 not in {"", content.staged.sha256}:
            await content.staged.discard()
            raise InvalidArgument.for_field(
                "start.sha256",
                f"the {content.staged.size_bytes} bytes received have another digest: send them again",
                reason="CHECKSUM_MISMATCH",
            )
        job = await self._acceptance.submit(start, content)
        return pb.UploadDocumentResponse(
            job=job, size_bytes=content.staged.size_bytes, sha256=content.staged.sha256
        )

    async def StartUpload(self, request: pb.StartUploadRequest, context: Any) -> pb.StartUploadResponse:
        """Open an upload that can be resumed."""
        return await self._resumption.start(request)

    async def GetUpload(self, request: pb.GetUploadRequest, context: Any) -> pb.GetUploadResponse:
        """Show how far an upload has come."""
        return await self._resumption.show(request)

    async def CancelUpload(self, request: pb.CancelUploadRequest, context: Any) -> pb.CancelUploadResponse:
        """Give up an upload."""
        return await self._resumption.cancel(request)

    async def IngestDocuments(
        self, request_iterator: AsyncIterator[pb.IngestDocumentsRequest], context: Any
    ) -> AsyncGenerator[pb.IngestDocumentsResponse, None]:
        """Accept many documents, each with an answer."""
        limits = self._limits
        start = await open_document_stream(request_iterator, limits.idle_s)
        async with self._database.snapshot() as tx:
            await tx.collections.get(current_call.get().tenant_id, start.collection_id)
        inbox = Inbox(
            request_iterator,
            items_ahead=limits.window_items,
            bytes_ahead=limits.window_bytes,
            idle_s=limits.idle_s,
        )
        stream = DocumentStream(self._acceptance, self._feed.closing, start, inbox)
        async with aclosing(stream.responses()) as responses:
            async for response in responses:
                yield response

    async def CrawlSite(self, request: pb.CrawlSiteRequest, context: Any) -> pb.CrawlSiteResponse:
        """Accept a crawl of a web site."""
        call = current_call.get()

        async def accept(tx: Transaction) -> pb.CrawlSiteResponse:
            job = await self._crawls.accept(
                tx,
                call.tenant_id,
                request.collection_id,
                from_crawl_request(request),
                chunking=from_chunking(request.chunking) if request.HasField("chunking") else None,
                request_id=call.request_id,
                trace_parent=trace_parent_of(context),
            )
            return pb.CrawlSiteResponse(job=to_job(job), is_queued=job.waiting is Waiting.FOR_CRAWL)

        return await self._idempotency.once(request, pb.CrawlSiteResponse, accept)

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        """Show a job."""
        async with self._database.snapshot() as tx:
            tenant_id = current_call.get().tenant_id
            job = await tx.jobs.get(tenant_id, request.job_id)
            delivery = await tx.webhooks.of_job(tenant_id, job.id) if job.webhook else None
        return pb.GetJobResponse(job=to_job(job, delivery=delivery))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """List jobs, newest first."""
        tenant_id = current_call.get().tenant_id
        arguments = (
            request.collection_id,
            request.document_id,
            sorted(request.states),
            request.parent_job_id,
        )
        size = value_or_default(request, "page_size")
        pager = Pager(size, request.page_token, *arguments, key=(datetime, str))
        async with self._database.snapshot() as tx:
            collection_uid = None
            if request.collection_id:
                collection_uid = (await tx.collections.get(tenant_id, request.collection_id)).uid
            found = await tx.jobs.list(
                tenant_id,
                collection_uid=collection_uid,
                document_id=request.document_id or None,
                parent_id=request.parent_job_id or None,
                states=from_states(request.states) or None,
                after=(pager.after[0], pager.after[1]) if pager.after else None,
                limit=pager.limit,
            )
        page, token = pager.cut(found, lambda job: [job.create_time, job.id])
        jobs = [to_job(job, has_items=False) for job in page]
        return pb.ListJobsResponse(jobs=jobs, next_page_token=token)

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
                shown = to_job(job, has_items=job.state.is_final)
                yield pb.WatchJobResponse(job=shown, cursor=str(job.sequence))

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

    async def RetryJob(self, request: pb.RetryJobRequest, context: Any) -> pb.RetryJobResponse:
        """Take up a failed job again."""
        tenant_id = current_call.get().tenant_id

        async def retry(tx: Transaction) -> pb.RetryJobResponse:
            job = await tx.revival.revive(tenant_id, request.job_id, trace_parent=trace_parent_of(context))
            return pb.RetryJobResponse(job=to_job(job))

        return await self._idempotency.once(request, pb.RetryJobResponse, retry)


def _sequence_of(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > _CURSOR_DIGITS:
        raise invalid_cursor()
    return int(cursor)
