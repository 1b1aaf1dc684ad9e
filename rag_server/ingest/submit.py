"""Accepting a document: name it, check what can be checked at once, record the job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from rag_server.backends.protocols import StagedBlob
from rag_server.domain.collection import Collection
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job
from rag_server.domain.media_type_names import (
    NO_CLAIM,
    essence,
    is_archive_type,
    media_type_named,
    readable_media_types,
)
from rag_server.domain.metadata import accepts_type, type_of
from rag_server.domain.naming import document_id_for
from rag_server.domain.priority import Priority
from rag_server.domain.records import Cutting, RecordMapping
from rag_server.domain.webhook import Webhook
from rag_server.errors import InvalidArgument, NotFound, ResourceExhausted
from rag_server.metadata.database import Transaction


@dataclass(frozen=True, slots=True)
class Content:
    """Where the bytes of a document are: staged, or still at a URI."""

    staged: StagedBlob | None = None
    uri: str = ""


class Submitter:
    """Turns a document into a job, in the caller's transaction, as long as fewer than `max_waiting` wait.

    `secret_names` are those of the secrets that webhooks can be signed with.
    """

    def __init__(self, max_waiting: int, secret_names: Iterable[str] = ()) -> None:
        self._max_waiting = max_waiting
        self._secret_names = frozenset(secret_names)

    async def accept(
        self,
        tx: Transaction,
        tenant_id: str,
        document: NewDocument,
        content: Content,
        *,
        chunking: Cutting | None,
        request_id: str,
        path: str = "document",
        priority: Priority = Priority.INTERACTIVE,
        trace_parent: str = "",
        webhook: Webhook | None = None,
    ) -> Job:
        """Record a job for `document`; when the transaction commits, it is accepted.

        `path` is where the request has the document, for the fields that errors name.

        Raises `NotFound` (collection), `InvalidArgument` (`DOCUMENT_EMPTY`, `UNSUPPORTED_MEDIA_TYPE`,
        `UNSUPPORTED_URI_SCHEME`, `METADATA_TYPE_MISMATCH`, `WEBHOOK_SECRET_UNKNOWN`, `URI_INVALID`) and
        `ResourceExhausted` (`JOB_QUEUE_FULL`).
        """
        await self.check_room(tx)
        above = path.removesuffix("document")
        if webhook is not None:
            self._check_webhook(webhook, f"{above}webhook")
        collection = await self.check(tx, tenant_id, document, uri=content.uri, path=path)
        if isinstance(chunking, RecordMapping):
            fields = f"{above}records.fields"
            _check_defaults(chunking, document, fields)
            await tx.metadata_fields.check_types(tenant_id, collection.uid, chunking.types, path=fields)
        sha256, size_bytes = "", None
        if content.staged is not None:
            sha256, size_bytes = content.staged.sha256, content.staged.size_bytes
        named = replace(
            document,
            document_id=document.document_id or derive_document_id(document, uri=content.uri, sha256=sha256),
            source_uri=document.source_uri or content.uri,
        )
        if content.staged is not None and size_bytes is not None:
            if size_bytes == 0:
                raise InvalidArgument.for_field("data", "the document has no bytes", reason="DOCUMENT_EMPTY")
            # The bytes are locked from here to the end of the transaction, so the sweeper, which removes
            # those that nothing refers to, comes before or after: they are there once this job is. Kept
            # before the collection is locked, because a remote store takes its time.
            await tx.blobs.add(tenant_id, sha256, size_bytes)
            await content.staged.keep()
        return await tx.jobs.create(
            tenant_id,
            collection.uid,
            named,
            chunking=chunking or collection.chunking,
            content_sha256=sha256,
            fetch_uri=content.uri,
            size_bytes=size_bytes,
            request_id=request_id,
            priority=priority,
            trace_parent=trace_parent,
            webhook=webhook,
        )

    async def check(
        self, tx: Transaction, tenant_id: str, document: NewDocument, *, uri: str = "", path: str = "document"
    ) -> Collection:
        """Return the collection that the document would go to, or say what is wrong with what is known of it.

        Raises `NotFound` (collection) and `InvalidArgument` (`UNSUPPORTED_MEDIA_TYPE`,
        `UNSUPPORTED_URI_SCHEME`, `METADATA_TYPE_MISMATCH`).
        """
        _check_scheme(uri)
        _check_media_type(document.media_type, f"{path}.media_type")
        collection = await tx.collections.get(tenant_id, document.collection_id)
        await tx.metadata_fields.check(tenant_id, collection.uid, document.metadata, path=f"{path}.metadata")
        return collection

    def _check_webhook(self, webhook: Webhook, path: str) -> None:
        _check_scheme(webhook.url, f"{path}.url")
        try:
            parts = urlsplit(webhook.url)
            has_user = parts.username is not None or not parts.hostname
        except ValueError:
            has_user = True
        if has_user:
            raise InvalidArgument.for_field(
                f"{path}.url", "has to name a host, and no user or password", reason="URI_INVALID"
            )
        if webhook.secret_name not in self._secret_names:
            raise InvalidArgument.for_field(
                f"{path}.secret_name",
                f"the server has no secret {webhook.secret_name!r}: see its setting RAG_WEBHOOKS__SECRETS",
                reason="WEBHOOK_SECRET_UNKNOWN",
            )

    async def check_room(self, tx: Transaction) -> None:
        """Raise `ResourceExhausted` (`JOB_QUEUE_FULL`) while as many jobs wait as may."""
        if await tx.outbox.waiting(up_to=self._max_waiting) >= self._max_waiting:
            raise ResourceExhausted(
                "JOB_QUEUE_FULL",
                f"{self._max_waiting} ingest jobs are waiting already: come back later",
                metadata={"limit": str(self._max_waiting)},
                retry_after_s=10.0,
            )

    async def restore(
        self,
        tx: Transaction,
        tenant_id: str,
        collection_id: str,
        document_id: str,
        revision: int | None,
        *,
        request_id: str,
        priority: Priority = Priority.INTERACTIVE,
        trace_parent: str = "",
    ) -> Job:
        """Record a job that ingests a kept revision again, as it was handed in; None: the last but one.

        Raises `NotFound` (collection, document, revision), `InvalidArgument` (`METADATA_TYPE_MISMATCH`) and
        `ResourceExhausted` (`JOB_QUEUE_FULL`).
        """
        await self.check_room(tx)
        collection = await tx.collections.get(tenant_id, collection_id)
        await tx.documents.get(tenant_id, collection.uid, document_id)
        if revision is None:
            earlier = (await tx.history.list(tenant_id, collection.uid, document_id, limit=2))[1:]
            if not earlier:
                raise NotFound.for_resource("revision", f"{document_id}@previous")
            revision = earlier[0].revision
        restored = await tx.history.get(
            tenant_id, collection.uid, document_id, revision, collection_id=collection_id
        )
        await tx.metadata_fields.check(tenant_id, collection.uid, restored.document.metadata)
        if isinstance(restored.chunking, RecordMapping):
            types = restored.chunking.types
            await tx.metadata_fields.check_types(tenant_id, collection.uid, types, path="records.fields")
        # the bytes before the collection, as `accept` does: in one order, against deadlocks
        await tx.blobs.add(tenant_id, restored.sha256, restored.size_bytes)
        await tx.collections.lock(tenant_id, collection.uid)
        # Whoever forgets the revision does so under that lock. If it is still there, its bytes are, and stay.
        await tx.history.get(tenant_id, collection.uid, document_id, revision)
        return await tx.jobs.create(
            tenant_id,
            collection.uid,
            restored.document,
            chunking=restored.chunking,
            content_sha256=restored.sha256,
            size_bytes=restored.size_bytes,
            request_id=request_id,
            priority=priority,
            trace_parent=trace_parent,
        )


def derive_document_id(document: NewDocument, *, uri: str, sha256: str) -> str:
    """Return a name for a document that came without: of its URI, else its file name, else its content.

    `uri` is where the content is fetched from, `sha256` its digest in hexadecimal digits.
    """
    name = uri or document.source_uri or document.file_name
    return document_id_for(name) if name else f"sha256-{sha256[:32]}"


def _check_defaults(mapping: RecordMapping, document: NewDocument, path: str) -> None:
    """Raise `InvalidArgument` where the document's metadata has a field of the records with another type."""
    for index, field in enumerate(mapping.fields):
        value = document.metadata.get(field.field)
        if value is not None and not accepts_type(field.type, type_of(value)):
            raise InvalidArgument.for_field(
                f"{path}[{index}].type",
                f"is {field.type.value}; in the document's metadata it is {type_of(value).value}",
                reason="METADATA_TYPE_MISMATCH",
            )


def _check_scheme(uri: str, path: str = "uri") -> None:
    scheme, separator, _ = uri.partition("://")
    if uri and (not separator or scheme.lower() not in {"http", "https"}):
        raise InvalidArgument.for_field(
            path, "has to begin with http:// or https://", reason="UNSUPPORTED_URI_SCHEME"
        )


def _check_media_type(declared: str, path: str) -> None:
    named = essence(declared)
    if named not in NO_CLAIM and media_type_named(named) is None and not is_archive_type(named):
        supported = ", ".join((*readable_media_types(), "application/zip"))
        raise InvalidArgument.for_field(
            path,
            f"{named!r} is not supported; supported are {supported}",
            reason="UNSUPPORTED_MEDIA_TYPE",
        )
