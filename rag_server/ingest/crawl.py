"""Accepting a crawl: check what can be checked at once, record the job, or have it wait its turn."""

from __future__ import annotations

from collections.abc import Callable

from rag_server.domain.collection import Chunking
from rag_server.domain.crawl import CrawlRequest
from rag_server.domain.job import Job
from rag_server.ingest.submit import Submitter
from rag_server.metadata.database import Transaction


class CrawlSubmitter:
    """Turns a request to crawl into a job, in the caller's transaction."""

    def __init__(self, submitter: Submitter, check: Callable[[CrawlRequest], None]) -> None:
        """`check` raises `InvalidArgument`, naming the field, for what the crawler would not take."""
        self._submitter = submitter
        self._check = check

    async def accept(
        self,
        tx: Transaction,
        tenant_id: str,
        collection_id: str,
        request: CrawlRequest,
        *,
        chunking: Chunking | None,
        request_id: str,
        trace_parent: str = "",
    ) -> Job:
        """Record a crawl; it waits (`Job.waiting`) while another one of the collection has not ended.

        Raises `NotFound` (collection), `InvalidArgument` (`INVALID_REQUEST`, `UNSUPPORTED_URI_SCHEME`,
        `URI_INVALID`, `METADATA_TYPE_MISMATCH`) and `ResourceExhausted` (`JOB_QUEUE_FULL`).
        """
        self._check(request)
        await self._submitter.check_room(tx)
        collection = await tx.collections.get(tenant_id, collection_id)
        await tx.metadata_fields.check(tenant_id, collection.uid, request.metadata, path="metadata")
        return await tx.crawls.create(
            tenant_id,
            collection.uid,
            collection_id,
            request,
            chunking=chunking or collection.chunking,
            request_id=request_id,
            trace_parent=trace_parent,
        )
