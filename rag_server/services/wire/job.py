"""Jobs."""

from __future__ import annotations

from collections.abc import Iterable

from rag.v1 import ingest_service_pb2 as pb
from rag_server.domain.job import Job, JobKind, JobState, Waiting
from rag_server.domain.webhook import WebhookDelivery
from rag_server.services.wire.metadata import to_timestamp
from rag_server.services.wire.records import to_delivery

_STATES = {
    JobState.QUEUED: pb.JOB_STATE_QUEUED,
    JobState.FETCHING: pb.JOB_STATE_FETCHING,
    JobState.PARSING: pb.JOB_STATE_PARSING,
    JobState.CHUNKING: pb.JOB_STATE_CHUNKING,
    JobState.EMBEDDING: pb.JOB_STATE_EMBEDDING,
    JobState.INDEXING: pb.JOB_STATE_INDEXING,
    JobState.SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    JobState.PARTIALLY_SUCCEEDED: pb.JOB_STATE_PARTIALLY_SUCCEEDED,
    JobState.FAILED: pb.JOB_STATE_FAILED,
    JobState.CANCELLED: pb.JOB_STATE_CANCELLED,
}
_KINDS = {
    JobKind.DOCUMENT: pb.JOB_KIND_DOCUMENT,
    JobKind.ARCHIVE: pb.JOB_KIND_ARCHIVE,
    JobKind.CRAWL: pb.JOB_KIND_CRAWL,
}
_FROM_STATES: dict[int, JobState] = {proto: state for state, proto in _STATES.items()}


def from_states(states: Iterable[int]) -> frozenset[JobState]:
    """Return the states that a caller asks for; unspecified ones were refused before."""
    return frozenset(_FROM_STATES[state] for state in states)


def to_job(job: Job, *, delivery: WebhookDelivery | None = None, has_items: bool = True) -> pb.Job:
    """Return a job as a message; without `has_items` what was left out is only counted."""
    progress = job.progress
    return pb.Job(
        id=job.id,
        collection_id=job.document.collection_id,
        document_id=job.document.document_id,
        document_revision=job.document_revision,
        state=_STATES[job.state],
        progress=pb.JobProgress(
            size_bytes=progress.size_bytes,
            page_count=progress.page_count,
            chunk_count=progress.chunk_count,
            token_count=progress.token_count,
            embedded_chunk_count=progress.embedded_chunk_count,
            indexed_chunk_count=progress.indexed_chunk_count,
            parsed_page_count=progress.parsed_page_count,
            reused_chunk_count=progress.reused_chunk_count,
            is_unchanged=progress.is_unchanged,
            failed_item_count=progress.failed_item_count,
            found_item_count=progress.found_item_count,
            done_item_count=progress.done_item_count,
            skipped_item_count=progress.skipped_item_count,
            unchanged_item_count=progress.unchanged_item_count,
            gone_item_count=progress.gone_item_count,
        ),
        error=None
        if job.error is None
        else pb.JobError(reason=job.error.reason, message=job.error.message, metadata=job.error.metadata),
        attempt_count=job.attempt_count,
        cancel_requested=job.cancel_requested,
        sequence=job.sequence,
        create_time=to_timestamp(job.create_time),
        start_time=None if job.start_time is None else to_timestamp(job.start_time),
        update_time=to_timestamp(job.update_time),
        end_time=None if job.end_time is None else to_timestamp(job.end_time),
        item_errors=[
            pb.ItemError(item=error.item, reason=error.reason, message=error.message, metadata=error.metadata)
            for error in (job.item_errors if has_items else ())
        ],
        kind=_KINDS[job.kind],
        parent_job_id=job.parent_id,
        is_waiting_for_crawl=job.waiting is Waiting.FOR_CRAWL,
        webhook_delivery=None if delivery is None else to_delivery(delivery),
    )
