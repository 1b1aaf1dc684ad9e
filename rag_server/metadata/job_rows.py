"""Jobs and their events between row and domain."""

from __future__ import annotations

from dataclasses import replace

from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobKind, JobState, Waiting
from rag_server.metadata.codecs import (
    JsonObject,
    archive_from_spec,
    crawl_from_spec,
    cutting_from_json,
    error_from_json,
    error_to_json,
    items_from_json,
    metadata_from_json,
    metadata_to_json,
    progress_from_json,
    progress_to_json,
    time_from_json,
    time_to_json,
    webhook_from_json,
)
from rag_server.metadata.tables import JobEventRow, JobRow


def document_to_json(document: NewDocument) -> JsonObject:
    """Return what the job row does not hold in columns of its own."""
    return {
        "title": document.title,
        "source_uri": document.source_uri,
        "file_name": document.file_name,
        "media_type": document.media_type,
        "metadata": metadata_to_json(document.metadata),
    }


def document_from_json(collection_id: str, document_id: str, value: JsonObject) -> NewDocument:
    """Undo `document_to_json`."""
    return NewDocument(
        collection_id=collection_id,
        document_id=document_id,
        title=value["title"],
        source_uri=value["source_uri"],
        file_name=value["file_name"],
        media_type=value["media_type"],
        metadata=metadata_from_json(value["metadata"]),
    )


def job_from_row(row: JobRow) -> Job:
    """Return the job as it stands."""
    return Job(
        tenant_id=row.tenant_id,
        id=row.id,
        document=document_from_json(row.collection_id, row.document_id, row.document),
        chunking=cutting_from_json(row.chunking),
        content_sha256=row.content_sha256,
        fetch_uri=row.fetch_uri,
        document_revision=row.document_revision,
        state=JobState(row.state),
        progress=progress_from_json(row.progress),
        error=error_from_json(row.error),
        attempt_count=row.attempt_count,
        cancel_requested=row.cancel_requested,
        sequence=row.sequence,
        request_id=row.request_id,
        create_time=row.create_time,
        start_time=row.start_time,
        update_time=row.update_time,
        end_time=row.end_time,
        kind=JobKind(row.kind),
        parent_id=row.parent_id,
        waiting=Waiting(row.waiting),
        item_errors=items_from_json(row.item_errors),
        crawl=crawl_from_spec(row.spec),
        archive=archive_from_spec(row.spec),
        webhook=webhook_from_json(row.webhook),
    )


def event_of(job: Job) -> JobEventRow:
    """Return the event that records `job` as it stands: only the part that can change."""
    snapshot: JsonObject = {
        "content_sha256": job.content_sha256,
        "state": job.state.value,
        "progress": progress_to_json(job.progress),
        "error": error_to_json(job.error),
        "attempt_count": job.attempt_count,
        "cancel_requested": job.cancel_requested,
        "start_time": time_to_json(job.start_time),
        "end_time": time_to_json(job.end_time),
        "waiting": job.waiting.value,
    }
    return JobEventRow(
        tenant_id=job.tenant_id,
        job_id=job.id,
        sequence=job.sequence,
        snapshot=snapshot,
        create_time=job.update_time,
    )


def job_at(job: Job, event: JobEventRow) -> Job:
    """Return `job` as it was when `event` was recorded.

    The events do not repeat why items were left out, which would be kilobytes in each: the last one has it
    from the job.
    """
    snapshot = event.snapshot
    state = JobState(snapshot["state"])
    return replace(
        job,
        content_sha256=snapshot["content_sha256"],
        state=state,
        progress=progress_from_json(snapshot["progress"]),
        error=error_from_json(snapshot["error"]),
        attempt_count=snapshot["attempt_count"],
        cancel_requested=snapshot["cancel_requested"],
        start_time=time_from_json(snapshot["start_time"]),
        end_time=time_from_json(snapshot["end_time"]),
        waiting=Waiting(snapshot.get("waiting", "")),
        sequence=event.sequence,
        update_time=event.create_time,
        item_errors=job.item_errors if state.is_final else (),
    )
