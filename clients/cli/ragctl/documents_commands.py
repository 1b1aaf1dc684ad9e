"""`ragctl documents`: list, get, delete, chunks."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer
from rich.text import Text

from rag.v1.chunk_pb2 import Chunk
from rag.v1.document_service_pb2 import (
    DeleteDocumentRequest,
    Document,
    GetDocumentRequest,
    ListChunksRequest,
    ListChunksResponse,
    ListDocumentsRequest,
    ListDocumentsResponse,
)
from rag.v1.document_service_pb2_grpc import DocumentServiceStub
from ragctl.moments import shown_time
from ragctl.options import command
from ragctl.output import printable
from ragctl.paging import DEFAULT_LIMIT, All, Limit, PageToken, collect
from ragctl.places import heading, pages
from ragctl.session import Session
from ragctl.typed_values import shown

app = typer.Typer(help="Show and delete documents, and show their chunks.", no_args_is_help=True)

CollectionOption = Annotated[str, typer.Option("--collection", "-c", help="The collection.")]
DocumentId = Annotated[str, typer.Argument(metavar="DOCUMENT", help="The document.")]


@app.command("list")
@command
def list_documents(
    session: Session,
    collection: CollectionOption,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    page_token: PageToken = "",
) -> None:
    """List the documents of a collection by id."""
    stub = DocumentServiceStub(session.channel)

    def fetch(page_size: int, token: str) -> tuple[list[Document], str]:
        request = ListDocumentsRequest(collection_id=collection, page_size=page_size, page_token=token)
        response = stub.ListDocuments(request, timeout=session.unary_timeout_s)
        return list(response.documents), response.next_page_token

    items, token = collect(fetch, limit=None if everything else limit, page_token=page_token)
    if session.output.is_json:
        session.output.document(ListDocumentsResponse(documents=items, next_page_token=token))
        return
    session.output.table(
        ("id", "title", "format", ">bytes", ">chunks", ">revision", "updated"),
        [
            (
                each.id,
                each.title,
                each.media_type,
                str(each.size_bytes),
                str(each.chunk_count),
                str(each.revision),
                shown_time(each, "update_time"),
            )
            for each in items
        ],
    )
    if token:
        session.output.note(f"there are more: --all, or --page-token {token}")


@app.command("get")
@command
def get_document(session: Session, document_id: DocumentId, collection: CollectionOption) -> None:
    """Show a document."""
    request = GetDocumentRequest(collection_id=collection, document_id=document_id)
    stub = DocumentServiceStub(session.channel)
    document = stub.GetDocument(request, timeout=session.unary_timeout_s).document
    if session.output.is_json:
        session.output.document(document)
        return
    session.output.fields(
        [
            ("id", document.id),
            ("collection", document.collection_id),
            ("revision", str(document.revision)),
            ("title", document.title),
            ("source", document.source_uri),
            ("format", document.media_type),
            ("size", f"{document.size_bytes} bytes"),
            ("sha256", document.sha256),
            ("language", document.language),
            ("pages", str(document.page_count) if document.HasField("page_count") else ""),
            ("chunks", str(document.chunk_count)),
            ("tokens", str(document.token_count)),
            *((f"metadata.{key}", shown(value)) for key, value in sorted(document.metadata.items())),
            ("created", shown_time(document, "create_time")),
            ("updated", shown_time(document, "update_time")),
        ]
    )


@app.command("delete")
@command
def delete_document(session: Session, document_id: DocumentId, collection: CollectionOption) -> None:
    """Delete a document."""
    request = DeleteDocumentRequest(
        collection_id=collection, document_id=document_id, request_id=str(uuid.uuid4())
    )
    stub = DocumentServiceStub(session.channel)
    response = stub.DeleteDocument(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
    else:
        session.output.line(
            f"deleted {document_id}; {collection} is at revision {response.collection_revision}"
        )


@app.command("chunks")
@command
def list_chunks(
    session: Session,
    *,
    document_id: DocumentId,
    collection: CollectionOption,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    page_token: PageToken = "",
) -> None:
    """Show the chunks of a document in order, word for word."""
    stub = DocumentServiceStub(session.channel)

    def fetch(page_size: int, token: str) -> tuple[list[Chunk], str]:
        request = ListChunksRequest(
            collection_id=collection, document_id=document_id, page_size=page_size, page_token=token
        )
        response = stub.ListChunks(request, timeout=session.unary_timeout_s)
        return list(response.chunks), response.next_page_token

    items, token = collect(fetch, limit=None if everything else limit, page_token=page_token)
    if session.output.is_json:
        session.output.document(ListChunksResponse(chunks=items, next_page_token=token))
        return
    for chunk in items:
        facts = [
            f"{chunk.ordinal}",
            pages(chunk),
            heading(chunk),
            f"characters {chunk.span.start}-{chunk.span.end}",
            f"{chunk.token_count} tokens",
        ]
        title = " · ".join(each for each in facts if each)
        session.output.line(Text(printable(title), style="bold cyan"))
        session.output.line(chunk.text)
        session.output.line()
    if token:
        session.output.note(f"there are more: --all, or --page-token {token}")
