"""Accepting a document: name it, check what can be checked at once, record the job."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rag_server.backends.protocols import JobQueue, StagedBlob
from rag_server.domain.collection import Chunking
from rag_server.domain.document import MediaType, NewDocument
from rag_server.domain.job import Job
from rag_server.errors import InvalidArgument
from rag_server.ingest.naming import document_id_for
from rag_server.metadata.database import Transaction


@dataclass(frozen=True, slots=True)
class Content:
    """Where the bytes of a document are: staged, or still at a URI."""

    staged: StagedBlob | None = None
    uri: str = ""


class Submitter:
    """Turns a document into a job, inside the caller's transaction."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    async def accept(
        self,
        tx: Transaction,
        tenant_id: str,
        document: NewDocument,
        content: Content,
        *,
        chunking: Chunking | None,
        request_id: str,
        path: str = "document",
    ) -> Job:
        """Record a job for `document`; when the transaction commits, it is accepted.

        `path` is where the request has the document, for the fields that errors name.

        Raises `NotFound` (collection), `InvalidArgument` (`DOCUMENT_EMPTY`, `UNSUPPORTED_MEDIA_TYPE`,
        `UNSUPPORTED_URI_SCHEME`, `METADATA_TYPE_MISMATCH`) and `ResourceExhausted` (`JOB_QUEUE_FULL`).
        """
        self._queue.check_room()
        _check_scheme(content.uri)
        _check_media_type(document.media_type, f"{path}.media_type")
        collection = await tx.collections.get(tenant_id, document.collection_id)
        named = replace(
            document,
            document_id=document.document_id or derive_document_id(document, content),
            source_uri=document.source_uri or content.uri,
        )
        await tx.metadata_fields.check(tenant_id, collection.uid, named.metadata, path=f"{path}.metadata")
        sha256, size_bytes = "", None
        if content.staged is not None:
            sha256, size_bytes = content.staged.sha256, content.staged.size_bytes
            if size_bytes == 0:
                raise InvalidArgument.for_field("data", "the document has no bytes", reason="DOCUMENT_EMPTY")
            await tx.blobs.add(tenant_id, sha256, size_bytes)
        job = await tx.jobs.create(
            tenant_id,
            collection.uid,
            named,
            chunking=chunking or collection.chunking,
            content_sha256=sha256,
            fetch_uri=content.uri,
            size_bytes=size_bytes,
            request_id=request_id,
        )
        if content.staged is not None:
            # Last, and inside the transaction: the sweeper, which removes bytes that nothing refers to, does
            # so in a transaction too. Whichever comes first, the bytes are there once this job is.
            await content.staged.keep()
        return job


def derive_document_id(document: NewDocument, content: Content) -> str:
    """Return a name for a document that came without: of its URI, else its file name, else its content."""
    name = content.uri or document.source_uri or document.file_name
    if name:
        return document_id_for(name)
    assert content.staged is not None
    return f"sha256-{content.staged.sha256[:32]}"


def _check_scheme(uri: str) -> None:
    scheme, separator, _ = uri.partition("://")
    if uri and (not separator or scheme.lower() not in {"http", "https"}):
        raise InvalidArgument.for_field(
            "uri", "has to begin with http:// or https://", reason="UNSUPPORTED_URI_SCHEME"
        )


def _check_media_type(declared: str, path: str) -> None:
    essence = declared.partition(";")[0].strip().lower()
    if essence and essence not in set(MediaType):
        supported = ", ".join(MediaType)
        raise InvalidArgument.for_field(
            path,
            f"{essence!r} is not supported; supported are {supported}",
            reason="UNSUPPORTED_MEDIA_TYPE",
        )
