"""DocumentService."""

from __future__ import annotations

from typing import Any

from rag.v1 import document_service_pb2 as pb
from rag.v1 import document_service_pb2_grpc as pb_grpc
from rag_server.backends.protocols import ChunkStore
from rag_server.domain.collection import Collection
from rag_server.domain.document import Document
from rag_server.ingest.sweep import Sweeper
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction
from rag_server.services.idempotency import Idempotency
from rag_server.services.paging import Pager
from rag_server.services.wire.chunk import to_chunk
from rag_server.services.wire.document import to_document
from rag_server.validation.defaults import value_or_default


class DocumentServicer(pb_grpc.DocumentServiceServicer):
    """Shows and deletes documents."""

    def __init__(
        self, database: Database, idempotency: Idempotency, chunks: ChunkStore, sweeper: Sweeper
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._chunks = chunks
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

    async def ListChunks(self, request: pb.ListChunksRequest, context: Any) -> pb.ListChunksResponse:
        """List the chunks of a document's visible revision in order."""
        collection, document = await self._find(request)
        while True:
            arguments = (collection.uid, document.id, document.revision)
            pager = Pager(value_or_default(request, "page_size"), request.page_token, *arguments)
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
        self, request: pb.GetDocumentRequest | pb.ListChunksRequest
    ) -> tuple[Collection, Document]:
        tenant_id = current_call.get().tenant_id
        async with self._database.snapshot() as tx:
            collection = await tx.collections.get(tenant_id, request.collection_id)
            return collection, await tx.documents.get(tenant_id, collection.uid, request.document_id)
