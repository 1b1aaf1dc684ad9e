"""The tables. Rows stay inside this package: repositories take and return `rag_server.domain`.

Every table begins with `tenant_id`, in its columns and in its primary key. A collection is referred to
by its `uid`, which is never reused, not by its name.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, LargeBinary, MetaData, Text, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from rag_server.domain.job import JobState
from rag_server.metadata.types import JsonValue, UtcDateTime

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""So that a migration can name, and change, every constraint on both databases."""

UNFINISHED_STATES = tuple(state.value for state in JobState if not state.is_final)
"""As stored in `JobRow.state`."""

_registry = registry(metadata=MetaData(naming_convention=NAMING_CONVENTION))


class Row(SQLModel, registry=_registry):
    """Base of all rows: gives them their own metadata, apart from SQLModel's global one."""

    tenant_id: str = Field(primary_key=True, sa_type=Text)


metadata = _registry.metadata


def _of_collection() -> ForeignKeyConstraint:
    """Return the reference to the collection; what carries it goes when the collection goes."""
    return ForeignKeyConstraint(
        ["tenant_id", "collection_uid"],
        ["collections.tenant_id", "collections.uid"],
        ondelete="CASCADE",
    )


class CollectionRow(Row, table=True):
    """See `rag_server.domain.collection.Collection`."""

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("uid"), UniqueConstraint("tenant_id", "uid"))

    id: str = Field(primary_key=True, sa_type=Text)
    uid: str = Field(sa_type=Text)
    display_name: str = Field(sa_type=Text)
    description: str = Field(sa_type=Text)
    language: str = Field(sa_type=Text)
    embedding_model: str = Field(sa_type=Text)
    dimension: int
    chunking: dict[str, Any] = Field(sa_type=JsonValue)
    bm25: dict[str, Any] = Field(sa_type=JsonValue)
    labels: dict[str, str] = Field(sa_type=JsonValue)
    revision: int = Field(sa_type=BigInteger)
    document_count: int = Field(sa_type=BigInteger)
    chunk_count: int = Field(sa_type=BigInteger)
    create_time: datetime = Field(sa_type=UtcDateTime)
    update_time: datetime = Field(sa_type=UtcDateTime)


class CollectionChangeRow(Row, table=True):
    """See `rag_server.domain.change.DocumentChange`: what made one revision of a collection."""

    __tablename__ = "collection_changes"
    __table_args__ = (_of_collection(),)

    collection_uid: str = Field(primary_key=True, sa_type=Text)
    revision: int = Field(primary_key=True, sa_type=BigInteger)
    document_id: str = Field(sa_type=Text)
    document_revision: int | None = Field(default=None, sa_type=BigInteger)
    chunk_count: int = Field(sa_type=BigInteger)
    create_time: datetime = Field(sa_type=UtcDateTime)


class MetadataFieldRow(Row, table=True):
    """The type of one metadata field of one collection."""

    __tablename__ = "metadata_fields"
    __table_args__ = (_of_collection(),)

    collection_uid: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    type: str = Field(sa_type=Text)


class DocumentRow(Row, table=True):
    """See `rag_server.domain.document.Document`: there is a row only while a revision is visible."""

    __tablename__ = "documents"
    __table_args__ = (_of_collection(), Index(None, "tenant_id", "sha256"))

    collection_uid: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    collection_id: str = Field(sa_type=Text)
    revision: int = Field(sa_type=BigInteger)
    title: str = Field(sa_type=Text)
    source_uri: str = Field(sa_type=Text)
    media_type: str = Field(sa_type=Text)
    sha256: str = Field(sa_type=Text)
    size_bytes: int = Field(sa_type=BigInteger)
    language: str = Field(sa_type=Text)
    # "metadata" is taken by SQLAlchemy's declarative classes
    fields: dict[str, Any] = Field(sa_type=JsonValue)
    chunk_count: int = Field(sa_type=BigInteger)
    token_count: int = Field(sa_type=BigInteger)
    page_count: int | None = Field(default=None, sa_type=BigInteger)
    create_time: datetime = Field(sa_type=UtcDateTime)
    update_time: datetime = Field(sa_type=UtcDateTime)


class DocumentRevisionRow(Row, table=True):
    """The last revision number given out for a document id; outlives the document."""

    __tablename__ = "document_revisions"
    __table_args__ = (_of_collection(),)

    collection_uid: str = Field(primary_key=True, sa_type=Text)
    document_id: str = Field(primary_key=True, sa_type=Text)
    last_revision: int = Field(sa_type=BigInteger)


class KeptRevisionRow(Row, table=True):
    """See `rag_server.domain.revision.DocumentRevision`; the visible one and some before it."""

    __tablename__ = "kept_revisions"
    __table_args__ = (_of_collection(), Index(None, "tenant_id", "sha256"))

    collection_uid: str = Field(primary_key=True, sa_type=Text)
    document_id: str = Field(primary_key=True, sa_type=Text)
    revision: int = Field(primary_key=True, sa_type=BigInteger)
    title: str = Field(sa_type=Text)
    declared_title: str = Field(sa_type=Text)
    source_uri: str = Field(sa_type=Text)
    file_name: str = Field(sa_type=Text)
    media_type: str = Field(sa_type=Text)
    declared_type: str = Field(sa_type=Text)
    sha256: str = Field(sa_type=Text)
    size_bytes: int = Field(sa_type=BigInteger)
    language: str = Field(sa_type=Text)
    fields: dict[str, Any] = Field(sa_type=JsonValue)
    chunk_count: int = Field(sa_type=BigInteger)
    token_count: int = Field(sa_type=BigInteger)
    page_count: int | None = Field(default=None, sa_type=BigInteger)
    chunking: dict[str, Any] = Field(sa_type=JsonValue)
    recipe: str = Field(sa_type=Text)
    create_time: datetime = Field(sa_type=UtcDateTime)


class JobRow(Row, table=True):
    """See `rag_server.domain.job.Job`. Outlives its collection, hence no foreign key."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "tenant_id", "create_time", "id"),
        Index(None, "tenant_id", "collection_uid", "document_id"),
        Index(None, "tenant_id", "content_sha256"),
        Index(None, "state", "create_time", "id"),
        Index(None, "tenant_id", "parent_id", "create_time", "id"),
        Index(None, "tenant_id", "collection_uid", "kind", "state"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    collection_uid: str = Field(sa_type=Text)
    collection_id: str = Field(sa_type=Text)
    document_id: str = Field(sa_type=Text)
    document: dict[str, Any] = Field(sa_type=JsonValue)
    chunking: dict[str, Any] = Field(sa_type=JsonValue)
    content_sha256: str = Field(sa_type=Text)
    fetch_uri: str = Field(sa_type=Text)
    document_revision: int = Field(sa_type=BigInteger)
    state: str = Field(sa_type=Text)
    progress: dict[str, Any] = Field(sa_type=JsonValue)
    error: dict[str, Any] | None = Field(default=None, sa_type=JsonValue)
    attempt_count: int
    cancel_requested: bool
    priority: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    sequence: int = Field(sa_type=BigInteger)
    request_id: str = Field(sa_type=Text)
    item_errors: list[dict[str, Any]] | None = Field(default=None, sa_type=JsonValue)
    webhook: dict[str, Any] | None = Field(default=None, sa_type=JsonValue)
    create_time: datetime = Field(sa_type=UtcDateTime)
    start_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    update_time: datetime = Field(sa_type=UtcDateTime)
    end_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    kind: str = Field(default="document", sa_type=Text, sa_column_kwargs={"server_default": "document"})
    parent_id: str = Field(default="", sa_type=Text, sa_column_kwargs={"server_default": ""})
    waiting: str = Field(default="", sa_type=Text, sa_column_kwargs={"server_default": ""})
    spec: dict[str, Any] | None = Field(default=None, sa_type=JsonValue)


class JobEventRow(Row, table=True):
    """What a job looked like after one change: the part of it that can change."""

    __tablename__ = "job_events"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    )

    job_id: str = Field(primary_key=True, sa_type=Text)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    snapshot: dict[str, Any] = Field(sa_type=JsonValue)
    create_time: datetime = Field(sa_type=UtcDateTime)


def _of_job() -> ForeignKeyConstraint:
    """Return the reference to the job; what carries it goes when the job goes."""
    return ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE")


class JobItemRow(Row, table=True):
    """An item of an archive or a crawl that was taken up: a second attempt passes over it."""

    __tablename__ = "job_items"
    __table_args__ = (_of_job(),)

    job_id: str = Field(primary_key=True, sa_type=Text)
    item_key: str = Field(primary_key=True, sa_type=Text)


class CrawlStateRow(Row, table=True):
    """Where an unfinished crawl stands, see `rag_server.metadata.crawls`."""

    __tablename__ = "crawl_states"
    __table_args__ = (_of_job(),)

    job_id: str = Field(primary_key=True, sa_type=Text)
    state: bytes = Field(sa_type=LargeBinary)


class CrawledPageRow(Row, table=True):
    """See `rag_server.domain.crawl.CrawledPage`."""

    __tablename__ = "crawled_pages"
    __table_args__ = (_of_collection(),)

    collection_uid: str = Field(primary_key=True, sa_type=Text)
    url_key: str = Field(primary_key=True, sa_type=Text)
    url: str = Field(sa_type=Text)
    document_id: str = Field(sa_type=Text)
    etag: str = Field(sa_type=Text)
    last_modified: str = Field(sa_type=Text)
    digest: str = Field(sa_type=Text)
    depth: int
    canonical_url: str = Field(sa_type=Text)
    links: list[str] = Field(sa_type=JsonValue)
    options_digest: str = Field(sa_type=Text)


class JobLeaseRow(Row, table=True):
    """See `rag_server.domain.lease.Lease`: there is a row only while somebody works, or has died at it."""

    __tablename__ = "job_leases"
    __table_args__ = (_of_job(),)

    job_id: str = Field(primary_key=True, sa_type=Text)
    token: str = Field(sa_type=Text)
    owner: str = Field(sa_type=Text)
    expire_time: datetime = Field(sa_type=UtcDateTime)


class OutboxRow(Row, table=True):
    """A job that the queue has not been given yet; the row goes when it has confirmed."""

    __tablename__ = "outbox"
    __table_args__ = (_of_job(), Index(None, "priority", "tenant_id", "id"))

    job_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(sa_type=Text)
    priority: int
    trace_parent: str = Field(sa_type=Text)
    create_time: datetime = Field(sa_type=UtcDateTime)


class WebhookDeliveryRow(Row, table=True):
    """See `rag_server.domain.webhook.WebhookDelivery`; written in the transaction that ends its job."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        _of_job(),
        Index(None, "tenant_id", "job_id"),
        Index(None, "state", "next_attempt_time"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    job_id: str = Field(sa_type=Text)
    job_sequence: int = Field(sa_type=BigInteger)
    webhook: dict[str, Any] = Field(sa_type=JsonValue)
    state: str = Field(sa_type=Text)
    attempt_count: int
    http_status: int | None = None
    reason: str = Field(sa_type=Text)
    next_attempt_time: datetime = Field(sa_type=UtcDateTime)
    create_time: datetime = Field(sa_type=UtcDateTime)


class IdempotencyRow(Row, table=True):
    """The answer that a mutating call was given, by its request id."""

    __tablename__ = "idempotency"
    __table_args__ = (Index(None, "create_time"),)

    method: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(primary_key=True, sa_type=Text)
    body_hash: str = Field(sa_type=Text)
    response: bytes = Field(sa_type=LargeBinary)
    create_time: datetime = Field(sa_type=UtcDateTime)


class UploadRow(Row, table=True):
    """See `rag_server.domain.upload.Upload`. Outlives its collection, until it expires: no foreign key."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "update_time"),)

    id: str = Field(primary_key=True, sa_type=Text)
    collection_uid: str = Field(sa_type=Text)
    collection_id: str = Field(sa_type=Text)
    document_id: str = Field(sa_type=Text)
    document: dict[str, Any] = Field(sa_type=JsonValue)
    chunking: dict[str, Any] | None = Field(default=None, sa_type=JsonValue)
    sha256: str = Field(sa_type=Text)
    received_bytes: int = Field(sa_type=BigInteger)
    answer: bytes | None = Field(default=None, sa_type=LargeBinary)
    create_time: datetime = Field(sa_type=UtcDateTime)
    update_time: datetime = Field(sa_type=UtcDateTime)


class UploadPartRow(Row, table=True):
    """See `rag_server.domain.upload.UploadPart`."""

    __tablename__ = "upload_parts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "upload_id"], ["uploads.tenant_id", "uploads.id"], ondelete="CASCADE"
        ),
        Index(None, "tenant_id", "sha256"),
    )

    upload_id: str = Field(primary_key=True, sa_type=Text)
    part_offset: int = Field(primary_key=True, sa_type=BigInteger)
    size_bytes: int = Field(sa_type=BigInteger)
    sha256: str = Field(sa_type=Text)


class SweepRow(Row, table=True):
    """See `rag_server.domain.sweep.Sweep`. Outlives what it refers to, hence no foreign key."""

    __tablename__ = "sweeps"
    __table_args__ = (Index(None, "id"),)

    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    collection_uid: str = Field(sa_type=Text)
    document_id: str = Field(sa_type=Text)
    revision: int | None = Field(default=None, sa_type=BigInteger)
    before_revision: int | None = Field(default=None, sa_type=BigInteger)
    sha256: str = Field(sa_type=Text)
    create_time: datetime = Field(sa_type=UtcDateTime)


class BlobRow(Row, table=True):
    """Bytes that the blob store holds."""

    __tablename__ = "blobs"

    sha256: str = Field(primary_key=True, sa_type=Text)
    size_bytes: int = Field(sa_type=BigInteger)
    create_time: datetime = Field(sa_type=UtcDateTime)
