"""The composition root's part that accepts documents."""

from __future__ import annotations

from rag_server.backends.protocols import BlobStore
from rag_server.config import Settings
from rag_server.ingest.crawl import CrawlSubmitter
from rag_server.ingest.dry_run import DryRunner
from rag_server.ingest.resumable import ResumableUploads
from rag_server.ingest.submit import Submitter
from rag_server.ingest.watch import JobFeed
from rag_server.metadata.database import Database
from rag_server.services.acceptance import Acceptance
from rag_server.services.idempotency import Idempotency
from rag_server.services.ingest import IngestServicer, StreamLimits
from rag_server.services.rehearsal import Rehearsal
from rag_server.services.resumption import Resumption


def create_ingest_servicer(
    settings: Settings,
    database: Database,
    blobs: BlobStore,
    feed: JobFeed,
    idempotency: Idempotency,
    submitter: Submitter,
    crawls: CrawlSubmitter,
    dry_runner: DryRunner,
) -> IngestServicer:
    """Return the servicer, on the stores given."""
    own = settings.ingest
    max_bytes = settings.storage.max_document_bytes
    uploads = ResumableUploads(
        database,
        blobs,
        submitter,
        part_bytes=own.upload_part_bytes,
        max_document_bytes=max_bytes,
        max_open=own.max_open_uploads,
    )
    return IngestServicer(
        database,
        idempotency,
        Acceptance(idempotency, submitter, blobs, max_document_bytes=max_bytes),
        Resumption(database, idempotency, submitter, uploads, ttl_s=own.upload_ttl_s),
        Rehearsal(database, submitter, dry_runner),
        crawls,
        feed,
        limits=StreamLimits(
            idle_s=settings.server.stream_idle_s,
            window_items=own.stream_window_items,
            window_bytes=own.stream_window_bytes,
        ),
    )
