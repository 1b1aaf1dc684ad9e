"""DocumentService."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from rag.v1 import document_service_pb2 as pb
from rag.v1 import document_service_pb2_grpc as pb_grpc
from rag_server.backends.protocols import BlobStore, ChunkStore
from rag_server.domain.collection import Collection
from rag_server.domain.document import Document
from rag_server.ingest.batch_delete import delete_documents
from rag_server.ingest.submit import Submitter
from rag_server.ingest.sweep import Sweeper
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction
from rag_server.services.download import download
from rag_server.services.idempotency import Idempotency
from rag_server.services.paging import Pager
from rag_server.services.trace_context import trace_parent_of
from rag_server.services.wire.chunk import to_chunk
from rag_server.services.wire.document import to_document, to_revision
from rag_server.services.wire.filter import from_filter
from rag_server.services.wire.job import to_job
from rag_server.validation.defaults import value_or_default


class DocumentServicer(pb_grpc.DocumentServiceServicer):
    """Shows and deletes documents, and keeps their latest revisions."""

    def __init__(
        self,
        database: Database,
        idempotency: Idempotency,
        chunks: ChunkStore,
        blobs: BlobStore,
        submitter: Submitter,
        sweeper: Sweeper,
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._chunks = chunks
        self._blobs = blobs
        self._submitter = submitter
        self._sweeper = sweeper

    async def GetDocument(self, request: pb.GetDocumentRequest, context: Any) -> pb.GetDocumentResponse:
        """Show one document."""
        _, document = await self._find(request)
        return pb.GetDocumentResponse(document=to_document(document))

    async def ListDocuments(self, request: pb.ListDocumentsRequest, context: Any) -> pb.ListDocumentsResponse:
        """List the documents of a collection by id."""
        tenant_id = current_call.get().tenant_id
        async with self._database.snapshot() as tx:
            collection = await tx.collections.get(tenant_id, request.collection_id)
            pager = Pager(value_or_default(request, "page_size"), request.page_token, collection.uid)
            after_id = pager.after[0] if pager.after else ""
            found = await tx.documents.list(tenant_id, collection.uid, after_id=after_id, limit=pager.limit)
        page, token = pager.cut(found, lambda document: [document.id])
        return pb.ListDocumentsResponse(documents=map(to_document, page), next_page_token=token)

    async def DeleteDocument(
        self, request: pb.DeleteDocumentRequest, context: Any
    ) -> pb.DeleteDocumentResponse:
        """Remove a document; its rows and bytes are swept afterwards."""
        tenant_id = current_call.get().tenant_id

        async def delete(tx: Transaction) -> pb.DeleteDocumentResponse:
            collection = await tx.collections.get(tenant_id, request.collection_id)
            await tx.documents.delete(tenant_id, collection.uid, request.document_id)
            after = await tx.collections.get(tenant_id, request.collection_id)
            return pb.DeleteDocumentResponse(collection_revision=after.revision)

        response = await self._idempotency.once(request, pb.DeleteDocumentResponse, delete)
        self._sweeper.wake()
        return response

    async def BatchDeleteDocuments(
        self, request: pb.BatchDeleteDocumentsRequest, context: Any
    ) -> pb.BatchDeleteDocumentsResponse:
        """Remove the documents that a filter or a list selects, or say which they are."""
        tenant_id = current_call.get().tenant_id
        is_filter = request.WhichOneof("selection") == "filter"
        selection = from_filter(request.filter) if is_filter else tuple(request.documents.ids)

        async def delete() -> pb.BatchDeleteDocumentsResponse:
            deletion = await delete_documents(
                self._database,
                tenant_id,
                request.collection_id,
                selection,
                limit=value_or_default(request, "max_documents"),
                is_dry_run=request.dry_run,
            )
            return pb.BatchDeleteDocumentsResponse(
                matched_count=deletion.matched_count,
                deleted_count=deletion.deleted_count,
                remaining_count=deletion.remaining_count,
                document_ids=deletion.document_ids,
                missing_document_ids=deletion.missing_ids,
                collection_revision=deletion.collection_revision,
            )

        try:
            return await self._idempotency.in_steps(request, pb.BatchDeleteDocumentsResponse, delete)
        finally:
            self._sweeper.wake()

    async def ListDocumentRevisions(
        self, request: pb.ListDocumentRevisionsRequest, context: Any
    ) -> pb.ListDocumentRevisionsResponse:
        """List the revisions of a document that are kept, newest first."""
        tenant_id = current_call.get().tenant_id
        async with self._database.snapshot() as tx:
            collection = await tx.collections.get(tenant_id, request.collection_id)
            document = await tx.documents.get(tenant_id, collection.uid, request.document_id)
            arguments = (collection.uid, document.id)
            size = value_or_default(request, "page_size")
            pager = Pager(size, request.page_token, *arguments, key=(int,))
            found = await tx.history.list(
                tenant_id,
                collection.uid,
                document.id,
                before=pager.after[0] if pager.after else None,
                limit=pager.limit,
            )
        page, token = pager.cut(found, lambda each: [each.revision])
        return pb.ListDocumentRevisionsResponse(
            revisions=[to_revision(each, is_visible=each.revision == document.revision) for each in page],
            next_page_token=token,
        )

    async def RestoreDocumentRevision(
        self, request: pb.RestoreDocumentRevisionRequest, context: Any
    ) -> pb.RestoreDocumentRevisionResponse:
        """Accept a job that makes a revision again."""
        call = current_call.get()

        async def restore(tx: Transaction) -> pb.RestoreDocumentRevisionResponse:
            job = await self._submitter.restore(
                tx,
                call.tenant_id,
                request.collection_id,
                request.document_id,
                request.revision if request.HasField("revision") else None,
                request_id=call.request_id,
                trace_parent=trace_parent_of(context),
            )
            return pb.RestoreDocumentRevisionResponse(job=to_job(job))

        return await self._idempotency.once(request, pb.RestoreDocumentRevisionResponse, restore)

    async def DownloadDocument(
        self, request: pb.DownloadDocumentRequest, context: Any
    ) -> AsyncGenerator[pb.DownloadDocumentResponse, None]:
        """Send the original bytes of a revision."""
        collection, document = await self._find(request)
        revision = request.revision if request.HasField("revision") else document.revision
        async with self._database.snapshot() as tx:
            kept = await tx.history.get(collection.tenant_id, collection.uid, document.id, revision)
        async with aclosing(download(self._blobs, collection.tenant_id, kept)) as messages:
            async for message in messages:
                yield message

    async def ListChunks(self, request: pb.ListChunksRequest, context: Any) -> pb.ListChunksResponse:
        """List the chunks of a document's visible revision in order."""
        collection, document = await self._find(request)
        while True:
            arguments = (collection.uid, document.id, document.revision)
            size = value_or_default(request, "page_size")
            pager = Pager(size, request.page_token, *arguments, key=(int,))
            first = pager.after[0] + 1 if pager.after else 0
            found = await self._chunks.list_chunks(
                collection, document.id, document.revision, first_ordinal=first, limit=pager.limit
            )
            read = document.revision
            collection, document = await self._find(request)
            if document.revision == read:  # else it was replaced, and perhaps swept, while it was read
                break
        page, token = pager.cut(found, lambda chunk: [chunk.ordinal])
        return pb.ListChunksResponse(chunks=map(to_chunk, page), next_page_token=token)

    async def _find(
        self, request: pb.GetDocumentRequest | pb.ListChunksRequest | pb.DownloadDocumentRequest
    ) -> tuple[Collection, Document]:
        tenant_id = current_call.get().tenant_id
        async with self._database.snapshot() as tx:
            collection = await tx.collections.get(tenant_id, request.collection_id)
            return collection, await tx.documents.get(tenant_id, collection.uid, request.document_id)
