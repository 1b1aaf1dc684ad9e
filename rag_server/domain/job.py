"""Ingest jobs: one document on its way from accepted to searchable."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rag_server.domain.collection import Chunking
from rag_server.domain.document import NewDocument


class JobState(StrEnum):
    """Where a job stands. Stages follow each other in this order; the last three are final."""

    QUEUED = "queued"
    FETCHING = "fetching"
    PARSING = "parsing"
    CHUNKING = "chunking"
    EMBEDDING = "embedding"
    INDEXING = "indexing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether no further change can come."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Counts that grow while a job runs; None: not known yet."""

    size_bytes: int | None = None
    page_count: int | None = None
    chunk_count: int | None = None
    token_count: int | None = None
    embedded_chunk_count: int = 0
    indexed_chunk_count: int = 0


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: the same reason and metadata that an RPC error would carry."""

    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """An ingest job as stored. Every change raises `sequence` by one."""

    tenant_id: str
    id: str
    document: NewDocument
    """With `document_id` filled in."""
    chunking: Chunking
    content_sha256: str
    """Key of the bytes in the blob store; empty until a URI has been fetched."""
    fetch_uri: str
    """The URI to fetch, or empty when the caller sent the bytes."""
    document_revision: int
    """The revision that this job makes; fixed when the job is accepted."""
    state: JobState
    progress: JobProgress
    error: JobError | None
    attempt_count: int
    cancel_requested: bool
    sequence: int
    request_id: str
    """The request id of the call that submitted it, for the logs."""
    create_time: datetime
    start_time: datetime | None
    update_time: datetime
    end_time: datetime | None
