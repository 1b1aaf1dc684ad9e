"""Jobs and their events between row and domain."""

from __future__ import annotations

from dataclasses import replace

from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.metadata.codecs import (
    JsonObject,
    chunking_from_json,
    error_from_json,
    error_to_json,
    metadata_from_json,
    metadata_to_json,
    progress_from_json,
    progress_to_json,
    time_from_json,
    time_to_json,
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


def job_from_row(row: JobRow) -> Job:
    """Return the job as it stands."""
    document = NewDocument(
        collection_id=row.collection_id,
        document_id=row.document_id,
        title=row.document["title"],
        source_uri=row.document["source_uri"],
        file_name=row.document["file_name"],
        media_type=row.document["media_type"],
        metadata=metadata_from_json(row.document["metadata"]),
    )
    return Job(
        tenant_id=row.tenant_id,
        id=row.id,
        document=document,
        chunking=chunking_from_json(row.chunking),
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
    }
    return JobEventRow(
        tenant_id=job.tenant_id,
        job_id=job.id,
        sequence=job.sequence,
        snapshot=snapshot,
        create_time=job.update_time,
    )


def job_at(job: Job, event: JobEventRow) -> Job:
    """Return `job` as it was when `event` was recorded."""
    snapshot = event.snapshot
    return replace(
        job,
        content_sha256=snapshot["content_sha256"],
        state=JobState(snapshot["state"]),
        progress=progress_from_json(snapshot["progress"]),
        error=error_from_json(snapshot["error"]),
        attempt_count=snapshot["attempt_count"],
        cancel_requested=snapshot["cancel_requested"],
        start_time=time_from_json(snapshot["start_time"]),
        end_time=time_from_json(snapshot["end_time"]),
        sequence=event.sequence,
        update_time=event.create_time,
    )
