"""Ingest jobs: one document on its way from accepted to searchable, or an archive or a crawl of many."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rag_server.domain.archive import ArchiveBudget
from rag_server.domain.crawl import CrawlRequest
from rag_server.domain.document import NewDocument
from rag_server.domain.job_items import ItemError
from rag_server.domain.records import Cutting
from rag_server.domain.webhook import Webhook


class JobState(StrEnum):
    """Where a job stands. Stages follow each other in this order; the last four are final."""

    QUEUED = "queued"
    FETCHING = "fetching"
    PARSING = "parsing"
    CHUNKING = "chunking"
    EMBEDDING = "embedding"
    INDEXING = "indexing"
    SUCCEEDED = "succeeded"
    PARTIALLY_SUCCEEDED = "partially_succeeded"
    """What could be taken is searchable; some items, or parts of the document, could not."""
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether no further change can come."""
        return self in FINAL_STATES


SUCCESSES = frozenset({JobState.SUCCEEDED, JobState.PARTIALLY_SUCCEEDED})
"""The document is searchable."""
FINAL_STATES = SUCCESSES | {JobState.FAILED, JobState.CANCELLED}


class JobKind(StrEnum):
    """What a job works on."""

    DOCUMENT = "document"
    ARCHIVE = "archive"
    CRAWL = "crawl"


class Waiting(StrEnum):
    """Why an unfinished job is not to be worked on now; whatever it waits for has it go on."""

    FOR_NOTHING = ""
    FOR_CHILDREN = "children"
    """All its items are found: the last of its jobs ends it."""
    FOR_CRAWL = "crawl"
    """Another crawl of the collection: the end of that one starts it."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Counts that grow while a job runs; None: not known yet."""

    size_bytes: int | None = None
    page_count: int | None = None
    chunk_count: int | None = None
    token_count: int | None = None
    embedded_chunk_count: int = 0
    """Chunks that the model has embedded for this job."""
    indexed_chunk_count: int = 0
    parsed_page_count: int | None = None
    """Pages read so far; None where the format has none."""
    reused_chunk_count: int = 0
    """Chunks whose vectors were taken from the revision before, which had the same text."""
    is_unchanged: bool = False
    """The document had this content already, so that no revision was made."""
    failed_item_count: int = 0
    """Items of an archive or a crawl, or parts of a document, such as rows of a table, that were left out."""
    found_item_count: int = 0
    """Items of an archive or a crawl; what is neither done nor failed nor skipped is on its way."""
    done_item_count: int = 0
    skipped_item_count: int = 0
    unchanged_item_count: int = 0
    """Among those done: pages that need no job."""
    gone_item_count: int = 0
    """Among those skipped: pages of an earlier crawl that are there no more."""

    @property
    def open_item_count(self) -> int:
        """Items on their way."""
        return self.found_item_count - self.done_item_count - self.failed_item_count - self.skipped_item_count


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
    chunking: Cutting
    content_sha256: str
    """Key of the bytes in the blob store; empty until a URI has been fetched."""
    fetch_uri: str
    """The URI to fetch, or empty when the caller sent the bytes."""
    document_revision: int
    """The revision that this job makes, fixed when the job is accepted; of a job that ended as unchanged, the
    one that the document has."""
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
    kind: JobKind = JobKind.DOCUMENT
    parent_id: str = ""
    """The archive or crawl that found the document; empty: a call handed it in."""
    waiting: Waiting = Waiting.FOR_NOTHING
    item_errors: tuple[ItemError, ...] = ()
    """Why items, or parts, were left out: the first `MAX_ITEM_ERRORS`, in the order in which they came up."""
    crawl: CrawlRequest | None = None
    """Of a crawl only."""
    archive: ArchiveBudget | None = None
    """What the job may unpack, should it be an archive within an archive; None: it is not."""
    webhook: Webhook | None = None
    """Where its end is told."""
