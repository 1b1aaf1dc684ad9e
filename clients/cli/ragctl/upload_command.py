"""`ragctl upload`: one file, over as many connections as it takes."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import grpc
import typer

from rag.v1.ingest_service_pb2 import (
    DocumentSpec,
    GetUploadRequest,
    Job,
    StartUploadRequest,
    Upload,
    UploadDocumentRequest,
    UploadResume,
)
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.chunking_option import ChunkingText, parse_chunking
from ragctl.document_ids import document_id_for
from ragctl.errors import CommandFailed, Problem, from_rpc
from ragctl.ingestion import problem_of
from ragctl.options import command
from ragctl.output import as_dict, shown_size
from ragctl.retry import Retry
from ragctl.session import Session
from ragctl.submission import MAX_FILE_NAME, PIECE_BYTES
from ragctl.typed_values import metadata
from ragctl.watching import is_final, state_name, watch_job

OFFSET_MISMATCH = "UPLOAD_OFFSET_MISMATCH"


@command
def upload(
    session: Session,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The file.")],
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="The collection to ingest into.")
    ] = "",
    resume: Annotated[
        str, typer.Option("--resume", metavar="ID", help="Go on with an upload that broke off.")
    ] = "",
    document_id: Annotated[str, typer.Option("--id", help="Name of the document; else the file's.")] = "",
    title: Annotated[str, typer.Option("--title", help="Title of the document.")] = "",
    media_type: Annotated[
        str, typer.Option("--media-type", help="Format, such as text/markdown; detected without it.")
    ] = "",
    meta: Annotated[
        list[str] | None,
        typer.Option(
            "--meta", metavar="KEY[:TYPE]=VALUE", help="Metadata; types: str, int, float, bool, time, list."
        ),
    ] = None,
    chunking: ChunkingText = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the document is searchable.")
    ] = True,
) -> None:
    """Upload a file so that a broken connection, or a restart of the server, costs no more than a part of it.

    A connection that breaks is taken up again by itself. Should the command itself end, it has said how to go
    on: `ragctl upload FILE --resume ID`.
    """
    if bool(collection) == bool(resume):
        raise CommandFailed.for_usage("give either --collection, or --resume with the id of an upload")
    stub = IngestServiceStub(session.channel)
    if resume:
        current = _get(stub, session, resume)
    else:
        try:
            request = StartUploadRequest(
                collection_id=collection,
                document=DocumentSpec(
                    document_id=document_id or document_id_for(file.name),
                    title=title,
                    source_uri=file.name,
                    file_name=file.name[:MAX_FILE_NAME],
                    media_type=media_type,
                    metadata=metadata(meta or ()),
                ),
                chunking=parse_chunking(chunking),
                sha256=_digest(file),
                request_id=str(uuid.uuid4()),
            )
        except ValueError as error:
            raise CommandFailed.for_usage(str(error)) from error
        current = stub.StartUpload(request, timeout=session.unary_timeout_s).upload
        session.output.note(
            f"upload {current.id}; if it breaks off: ragctl upload {file} --resume {current.id}"
        )
    job = _send_all(stub, session, file, current)
    if wait:
        job = _watched(stub, session, job)
    if session.output.is_json:
        session.output.document({"upload_id": current.id, "job": as_dict(job)})
    else:
        session.output.line(f"{job.document_id}: {state_name(job.state)} (job {job.id})")
    problem = problem_of(job)
    if problem is not None:
        raise CommandFailed(problem)


def _send_all(stub: IngestServiceStub, session: Session, file: Path, current: Upload) -> Job:
    """Send what is missing, from where the server has come to, until it has all."""
    retry, stop = Retry(), threading.Event()
    failure_count = 0
    while not current.HasField("job"):
        size = file.stat().st_size
        if current.offset > size:
            raise CommandFailed(
                Problem(
                    "WRONG_FILE", f"the server has {current.offset} bytes of it already, {file} has {size}"
                )
            )
        if current.offset:
            session.output.note(f"going on after {shown_size(current.offset)} of {shown_size(size)}")
        try:
            return stub.UploadDocument(
                _messages(file, current.id, current.offset), timeout=session.stream_timeout_s
            ).job
        except grpc.RpcError as error:
            problem = from_rpc(error)
            failure_count += 1
            if _is_worth_a_look(session, problem) and failure_count < retry.max_failures:
                pass  # the upload is in order, only elsewhere
            elif not retry.pause(failure_count, problem, stop):
                raise
        before = current.offset
        current = _get(stub, session, current.id, retry=retry)
        if current.offset > before:
            failure_count = 0
    return current.job


def _is_worth_a_look(session: Session, problem: Problem) -> bool:
    """Whether another stream got further, perhaps ours, or this one took as long as the server lets any."""
    is_late = problem.status == grpc.StatusCode.DEADLINE_EXCEEDED.name
    return problem.reason == OFFSET_MISMATCH or (is_late and session.stream_timeout_s is None)


def _get(stub: IngestServiceStub, session: Session, upload_id: str, *, retry: Retry | None = None) -> Upload:
    """Return how far an upload has come; with `retry`, also of a server that is away for a while."""
    failure_count = 0
    while True:
        try:
            return stub.GetUpload(
                GetUploadRequest(upload_id=upload_id), timeout=session.unary_timeout_s
            ).upload
        except grpc.RpcError as error:
            failure_count += 1
            if retry is None or not retry.pause(failure_count, from_rpc(error), threading.Event()):
                raise


def _messages(file: Path, upload_id: str, offset: int) -> Iterator[UploadDocumentRequest]:
    yield UploadDocumentRequest(resume=UploadResume(upload_id=upload_id, offset=offset))
    with file.open("rb") as opened:
        opened.seek(offset)
        while piece := opened.read(PIECE_BYTES):
            yield UploadDocumentRequest(data=piece)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _watched(stub: IngestServiceStub, session: Session, job: Job) -> Job:
    if is_final(job):
        return job
    for response in watch_job(stub, job.id, timeout_s=session.stream_timeout_s):
        job = response.job
    return job
