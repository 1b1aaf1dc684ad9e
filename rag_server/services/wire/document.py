"""Documents and what a caller says of them."""

from __future__ import annotations

from rag.v1 import document_service_pb2, ingest_service_pb2
from rag_server.domain.document import Document, NewDocument
from rag_server.domain.revision import DocumentRevision
from rag_server.services.wire.metadata import from_map, to_timestamp, to_value


def from_spec(collection_id: str, spec: ingest_service_pb2.DocumentSpec) -> NewDocument:
    """Return what a caller says of a document."""
    return NewDocument(
        collection_id=collection_id,
        document_id=spec.document_id,
        title=spec.title,
        source_uri=spec.source_uri,
        file_name=spec.file_name,
        media_type=spec.media_type,
        metadata=from_map(spec.metadata),
    )


def to_revision(revision: DocumentRevision, *, is_visible: bool) -> document_service_pb2.DocumentRevision:
    """Return a kept revision as a message."""
    return document_service_pb2.DocumentRevision(
        revision=revision.revision,
        is_visible=is_visible,
        title=revision.title,
        source_uri=revision.document.source_uri,
        media_type=revision.media_type,
        sha256=revision.sha256,
        size_bytes=revision.size_bytes,
        language=revision.language,
        metadata={name: to_value(value) for name, value in revision.document.metadata.items()},
        chunk_count=revision.chunk_count,
        token_count=revision.token_count,
        page_count=revision.page_count,
        create_time=to_timestamp(revision.create_time),
    )


def to_document(document: Document) -> document_service_pb2.Document:
    """Return a document as a message."""
    return document_service_pb2.Document(
        id=document.id,
        collection_id=document.collection_id,
        revision=document.revision,
        title=document.title,
        source_uri=document.source_uri,
        media_type=document.media_type,
        sha256=document.sha256,
        size_bytes=document.size_bytes,
        language=document.language,
        metadata={name: to_value(value) for name, value in document.metadata.items()},
        chunk_count=document.chunk_count,
        token_count=document.token_count,
        page_count=document.page_count,
        create_time=to_timestamp(document.create_time),
        update_time=to_timestamp(document.update_time),
    )
