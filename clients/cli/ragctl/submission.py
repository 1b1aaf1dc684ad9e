"""Hands one source to the server and returns its job."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from rag.v1.chunking_pb2 import Chunking
from rag.v1.ingest_service_pb2 import (
    DocumentSpec,
    IngestDocumentRequest,
    Job,
    UploadDocumentRequest,
    UploadStart,
    Webhook,
)
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from rag.v1.metadata_pb2 import MetadataValue
from rag.v1.records_pb2 import Records
from ragctl.errors import CommandFailed, Problem, from_rpc, local_io_message
from ragctl.output import printable
from ragctl.retry import Retry
from ragctl.sources import FileSource, Source, TextSource, UrlSource

PIECE_BYTES = 1024 * 1024
MAX_DATA_BYTES = 33_554_432
"""Of a document in one message."""
MAX_FILE_NAME = 255
MAX_SOURCE_URI = 2048


@dataclass(frozen=True, slots=True)
class Submission:
    """What all sources of one `ingest` have in common."""

    collection_id: str
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    chunking: Chunking | None = None
    records: Records | None = None
    webhook: Webhook | None = None
    title: str = ""
    media_type: str = ""
    unary_timeout_s: float | None = None
    upload_timeout_s: float | None = None
    retry: Retry = field(default_factory=Retry)


class _FilePieces:
    """The messages of one upload; keeps the error of a file that could not be read to its end."""

    def __init__(self, start: UploadStart, path: Path, sent: Callable[[int], None]) -> None:
        self._start = start
        self._path = path
        self._sent = sent
        self.error: OSError | None = None

    def __iter__(self) -> Iterator[UploadDocumentRequest]:
        yield UploadDocumentRequest(start=self._start)
        sent_bytes = 0
        try:
            with self._path.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield UploadDocumentRequest(data=piece)
                    sent_bytes += len(piece)
                    self._sent(sent_bytes)
        except OSError as error:
            # gRPC would log a traceback; a stream cut short fails the digest's check instead.
            self.error = error


def submit(
    stub: IngestServiceStub,
    submission: Submission,
    source: Source,
    *,
    sent: Callable[[int], None],
    stop: threading.Event,
) -> Job:
    """Return the job that the server made of the source.

    Each attempt carries the same `request_id`, so that a call whose answer was lost is not done twice.
    `sent(byte_count)` is told how much of a file has gone out.

    Raises:
        grpc.RpcError: The server refused, or did not answer for long.
        CommandFailed: The file cannot be read.
    """
    request_id = str(uuid.uuid4())
    failure_count = 0
    while True:
        try:
            if isinstance(source, FileSource):
                return _upload(stub, submission, source, request_id, sent)
            request = whole_request(submission, source, request_id)
            return stub.IngestDocument(request, timeout=submission.unary_timeout_s).job
        except grpc.RpcError as error:
            failure_count += 1
            if not submission.retry.pause(failure_count, from_rpc(error), stop):
                raise


def _upload(
    stub: IngestServiceStub,
    submission: Submission,
    source: FileSource,
    request_id: str,
    sent: Callable[[int], None],
) -> Job:
    try:
        with source.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(error) from error
    start = UploadStart(
        collection_id=submission.collection_id,
        document=_document(submission, source),
        chunking=submission.chunking,
        records=submission.records,
        webhook=submission.webhook,
        sha256=sha256,
        request_id=request_id,
    )
    pieces = _FilePieces(start, source.path, sent)
    try:
        return stub.UploadDocument(iter(pieces), timeout=submission.upload_timeout_s).job
    except grpc.RpcError as error:
        if pieces.error is not None:
            raise _unreadable(pieces.error) from error
        raise


def _unreadable(error: OSError) -> CommandFailed:
    return CommandFailed(Problem("FILE_UNREADABLE", printable(local_io_message(error))))


def _document(submission: Submission, source: Source) -> DocumentSpec:
    document = DocumentSpec(
        document_id=source.document_id,
        title=submission.title,
        media_type=submission.media_type,
        metadata=dict(submission.metadata),
    )
    if isinstance(source, FileSource):
        document.source_uri = source.label[:MAX_SOURCE_URI]
        document.file_name = source.label.rpartition("/")[2][:MAX_FILE_NAME]
    return document


def is_for_upload(source: Source) -> bool:
    """Whether a source is too large to be handed in with one message."""
    return isinstance(source, FileSource) and source.size_bytes > MAX_DATA_BYTES


def whole_request(submission: Submission, source: Source, request_id: str) -> IngestDocumentRequest:
    """Return the request that hands in a source with one message.

    Raises:
        CommandFailed: The file cannot be read, or is too large for that.
    """
    request = IngestDocumentRequest(
        collection_id=submission.collection_id,
        document=_document(submission, source),
        chunking=submission.chunking,
        records=submission.records,
        webhook=submission.webhook,
        request_id=request_id,
    )
    match source:
        case UrlSource():
            request.uri = source.label
        case TextSource():
            request.text = source.text
        case FileSource():
            request.data = _data_of(source)
    return request


def _data_of(source: FileSource) -> bytes:
    try:
        with source.path.open("rb") as file:
            data = file.read(MAX_DATA_BYTES + 1)
    except OSError as error:
        raise _unreadable(error) from error
    if len(data) > MAX_DATA_BYTES:
        raise CommandFailed(
            Problem("FILE_TOO_LARGE", f"more than {MAX_DATA_BYTES} bytes, which one message cannot hold")
        )
    if not data:
        raise CommandFailed(Problem("DOCUMENT_EMPTY", "the file has no bytes"))
    return data
