"""How a request has its document cut."""

from __future__ import annotations

from rag.v1 import ingest_service_pb2 as pb
from rag_server.domain.records import Cutting
from rag_server.services.wire.collection import from_chunking
from rag_server.services.wire.records import from_records


def cutting_of(request: pb.IngestDocumentRequest | pb.UploadStart) -> Cutting | None:
    """Return it; None: as the collection says."""
    if request.HasField("records"):
        return from_records(request.records)
    return from_chunking(request.chunking) if request.HasField("chunking") else None
