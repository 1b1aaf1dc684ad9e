"""CollectionService."""

from __future__ import annotations

from typing import Any

from rag.v1 import collection_service_pb2 as pb
from rag.v1 import collection_service_pb2_grpc as pb_grpc
from rag_server.backends.protocols import EmbeddingModel
from rag_server.ingest.sweep import Sweeper
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction
from rag_server.services.idempotency import Idempotency
from rag_server.services.paging import Pager
from rag_server.services.wire.collection import from_chunking, from_new_collection, to_collection
from rag_server.services.wire.metadata import from_fields
from rag_server.text.analyzer import Analyzer
from rag_server.validation.defaults import value_or_default


class CollectionServicer(pb_grpc.CollectionServiceServicer):
    """Creates, shows, changes and deletes collections."""

    def __init__(
        self, database: Database, idempotency: Idempotency, model: EmbeddingModel, sweeper: Sweeper
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._model = model
        self._sweeper = sweeper

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Any
    ) -> pb.CreateCollectionResponse:
        """Make an empty collection."""
        new = from_new_collection(request.collection_id, request.collection)
        Analyzer.for_language(new.language, path="collection.language")

        async def create(tx: Transaction) -> pb.CreateCollectionResponse:
            collection = await tx.collections.create(
                current_call.get().tenant_id,
                new,
                embedding_model=self._model.id,
                dimension=self._model.dimension,
            )
            return pb.CreateCollectionResponse(collection=to_collection(collection))

        return await self._idempotency.once(request, pb.CreateCollectionResponse, create)

    async def GetCollection(self, request: pb.GetCollectionRequest, context: Any) -> pb.GetCollectionResponse:
        """Show one collection."""
        async with self._database.snapshot() as tx:
            collection = await tx.collections.get(current_call.get().tenant_id, request.collection_id)
        return pb.GetCollectionResponse(collection=to_collection(collection))

    async def ListCollections(
        self, request: pb.ListCollectionsRequest, context: Any
    ) -> pb.ListCollectionsResponse:
        """List the collections by id."""
        pager = Pager(value_or_default(request, "page_size"), request.page_token)
        async with self._database.snapshot() as tx:
            found = await tx.collections.list(
                current_call.get().tenant_id,
                after_id=pager.after[0] if pager.after else "",
                limit=pager.limit,
            )
        page, token = pager.cut(found, lambda collection: [collection.id])
        return pb.ListCollectionsResponse(collections=map(to_collection, page), next_page_token=token)

    async def UpdateCollection(
        self, request: pb.UpdateCollectionRequest, context: Any
    ) -> pb.UpdateCollectionResponse:
        """Change what the mask names."""
        new, paths = request.collection, set(request.update_mask.paths)

        async def update(tx: Transaction) -> pb.UpdateCollectionResponse:
            collection = await tx.collections.update(
                current_call.get().tenant_id,
                request.collection_id,
                display_name=new.display_name if "display_name" in paths else None,
                description=new.description if "description" in paths else None,
                labels=dict(new.labels) if "labels" in paths else None,
                chunking=from_chunking(new.chunking) if "chunking" in paths else None,
                metadata_fields=from_fields(new.metadata_fields) if "metadata_fields" in paths else None,
            )
            return pb.UpdateCollectionResponse(collection=to_collection(collection))

        return await self._idempotency.once(request, pb.UpdateCollectionResponse, update)

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Any
    ) -> pb.DeleteCollectionResponse:
        """Remove a collection; its rows and bytes are swept afterwards."""

        async def delete(tx: Transaction) -> pb.DeleteCollectionResponse:
            await tx.collections.delete(current_call.get().tenant_id, request.collection_id)
            return pb.DeleteCollectionResponse()

        response = await self._idempotency.once(request, pb.DeleteCollectionResponse, delete)
        self._sweeper.wake()
        return response
