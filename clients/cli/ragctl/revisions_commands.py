"""`ragctl documents revisions | restore | download | delete-all`: what was, and many at once."""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from rag.v1.document_service_pb2 import (
    BatchDeleteDocumentsRequest,
    BatchDeleteDocumentsResponse,
    DocumentIds,
    DocumentRevision,
    DownloadDocumentRequest,
    DownloadDocumentResponse,
    DownloadStart,
    ListDocumentRevisionsRequest,
    ListDocumentRevisionsResponse,
    RestoreDocumentRevisionRequest,
)
from rag.v1.document_service_pb2_grpc import DocumentServiceStub
from rag.v1.ingest_service_pb2 import Job
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.documents_commands import CollectionOption, DocumentId
from ragctl.errors import CommandFailed, Problem
from ragctl.exit_codes import ExitCode
from ragctl.moments import shown_time
from ragctl.options import command
from ragctl.paging import DEFAULT_LIMIT, All, Limit, PageToken, collect
from ragctl.search import Filters, filter_of
from ragctl.session import Session
from ragctl.watching import SUCCESSES, state_name, watch_job

STANDARD_OUTPUT = Path("-")

Revision = Annotated[int | None, typer.Option("--revision", "-r", min=1, help="A kept revision.")]


@command
def list_revisions(
    session: Session,
    *,
    document_id: DocumentId,
    collection: CollectionOption,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    page_token: PageToken = "",
) -> None:
    """List the revisions of a document that the server keeps, newest first."""
    stub = DocumentServiceStub(session.channel)

    def fetch(page_size: int, token: str) -> tuple[list[DocumentRevision], str]:
        request = ListDocumentRevisionsRequest(
            collection_id=collection, document_id=document_id, page_size=page_size, page_token=token
        )
        response = stub.ListDocumentRevisions(request, timeout=session.unary_timeout_s)
        return list(response.revisions), response.next_page_token

    items, token = collect(fetch, limit=None if everything else limit, page_token=page_token)
    if session.output.is_json:
        session.output.document(ListDocumentRevisionsResponse(revisions=items, next_page_token=token))
        return
    session.output.table(
        (">revision", "visible", "title", "format", ">bytes", ">chunks", "sha256", "since"),
        [
            (
                str(each.revision),
                "yes" if each.is_visible else "",
                each.title,
                each.media_type,
                str(each.size_bytes),
                str(each.chunk_count),
                each.sha256[:12],
                shown_time(each, "create_time"),
            )
            for each in items
        ],
    )
    if token:
        session.output.note(f"there are more: --all, or --page-token {token}")


@command
def restore(
    session: Session,
    *,
    document_id: DocumentId,
    collection: CollectionOption,
    revision: Revision = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is searchable.")] = True,
) -> None:
    """Make a document what it was: in --revision, else before its last change. That is a new revision."""
    request = RestoreDocumentRevisionRequest(
        collection_id=collection, document_id=document_id, revision=revision, request_id=str(uuid.uuid4())
    )
    stub = DocumentServiceStub(session.channel)
    job = stub.RestoreDocumentRevision(request, timeout=session.unary_timeout_s).job
    if wait:
        for change in watch_job(
            IngestServiceStub(session.channel), job.id, timeout_s=session.stream_timeout_s
        ):
            job = change.job
    if session.output.is_json:
        session.output.document(job)
    else:
        session.output.line(_restored(job))
    if wait and job.state not in SUCCESSES:
        raise typer.Exit(ExitCode.FAILED)


def _restored(job: Job) -> str:
    if job.HasField("error"):
        return f"{job.document_id}: {job.error.reason}: {job.error.message}"
    unchanged = ", as it was already" if job.progress.is_unchanged else ""
    state = state_name(job.state).lower()
    return f"{job.document_id}: job {job.id} {state}, revision {job.document_revision}{unchanged}"


@command
def download(
    session: Session,
    *,
    document_id: DocumentId,
    collection: CollectionOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="Where to; - is standard output.")
    ],
    revision: Revision = None,
) -> None:
    """Write the original bytes of a document to a file; an incomplete download leaves none."""
    request = DownloadDocumentRequest(collection_id=collection, document_id=document_id, revision=revision)
    stub = DocumentServiceStub(session.channel)
    call = stub.DownloadDocument(request, timeout=session.stream_timeout_s)
    try:
        with _target(output) as file:
            start = _receive(call, file)
    finally:
        call.cancel()
    if output == STANDARD_OUTPUT:
        return
    if session.output.is_json:
        session.output.document(start)
    else:
        session.output.line(
            f"{output}: {start.size_bytes} bytes of revision {start.revision}, sha256 {start.sha256}"
        )


@contextmanager
def _target(output: Path) -> Iterator[IO[bytes]]:
    """Open what the bytes go to: a file beside `output`, which takes its place once all is there."""
    if output == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(output)
    except OSError as error:
        raise CommandFailed.for_usage(f"cannot write {output}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _receive(responses: Iterable[DownloadDocumentResponse], file: IO[bytes]) -> DownloadStart:
    start, digest, size = DownloadStart(), hashlib.sha256(), 0
    for response in responses:
        if response.WhichOneof("part") == "start":
            start = response.start
        else:
            digest.update(response.data)
            size += len(response.data)
            file.write(response.data)
    if (size, digest.hexdigest()) != (start.size_bytes, start.sha256):
        raise CommandFailed(
            Problem("CHECKSUM_MISMATCH", "what has arrived is not the document: try again", ExitCode.FAILED)
        )
    return start


@command
def delete_all(
    session: Session,
    *,
    collection: CollectionOption,
    document_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[DOCUMENT]...", help="The documents.")
    ] = None,
    filters: Filters = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
) -> None:
    """Delete many documents: those named, or those that match every --filter."""
    if bool(document_ids) == bool(filters):
        raise CommandFailed.for_usage("name documents or give --filter, not both")
    stub = DocumentServiceStub(session.channel)
    total = BatchDeleteDocumentsResponse()
    for ids in _pages(document_ids or []) if document_ids else [None]:
        while True:
            request = BatchDeleteDocumentsRequest(
                collection_id=collection,
                filter=filter_of(filters) if ids is None else None,
                documents=None if ids is None else DocumentIds(ids=ids),
                dry_run=dry_run,
                request_id=str(uuid.uuid4()),
            )
            response = stub.BatchDeleteDocuments(request, timeout=session.unary_timeout_s)
            total.deleted_count += response.deleted_count
            total.matched_count += response.matched_count if dry_run else response.deleted_count
            total.document_ids.extend(response.document_ids)
            total.missing_document_ids.extend(response.missing_document_ids)
            total.collection_revision = response.collection_revision
            if dry_run or not response.remaining_count or not response.deleted_count:
                total.remaining_count += response.remaining_count
                break
    if session.output.is_json:
        session.output.document(total)
        return
    for document_id in total.document_ids:
        session.output.line(document_id)
    for document_id in total.missing_document_ids:
        session.output.note(f"no document {document_id}")
    counted = f"{total.matched_count} would be deleted" if dry_run else f"{total.deleted_count} deleted"
    session.output.note(f"{counted}; {collection} is at revision {total.collection_revision}")


_IDS_PER_CALL = 1000


def _pages(document_ids: list[str]) -> list[list[str]]:
    return [
        document_ids[start : start + _IDS_PER_CALL] for start in range(0, len(document_ids), _IDS_PER_CALL)
    ]
