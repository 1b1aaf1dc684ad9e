"""Jobs as people read them."""

from __future__ import annotations

from rag.v1.ingest_service_pb2 import Job, JobKind, JobState, WebhookDeliveryState
from ragctl.moments import shown_time
from ragctl.output import one_line
from ragctl.session import Session
from ragctl.watching import state_name


def pages(job: Job) -> str:
    """Return how many pages there are, while they are read `read/all`; empty without any."""
    progress = job.progress
    if not progress.HasField("page_count"):
        return ""
    if job.state == JobState.JOB_STATE_PARSING:
        return f"{progress.parsed_page_count}/{progress.page_count}"
    return str(progress.page_count)


def chunks(job: Job) -> str:
    """Return `embedded/total` while the job embeds, the total afterwards; empty before."""
    progress = job.progress
    if not progress.HasField("chunk_count"):
        return ""
    if job.state == JobState.JOB_STATE_EMBEDDING:
        return f"{progress.embedded_chunk_count + progress.reused_chunk_count}/{progress.chunk_count}"
    if progress.is_unchanged:
        return f"{progress.chunk_count} (unchanged)"
    if progress.reused_chunk_count:
        return f"{progress.chunk_count} ({progress.reused_chunk_count} reused)"
    return str(progress.chunk_count)


def items(job: Job) -> str:
    """Return `done/found`, and how many failed or were left out; empty for a job of one document."""
    progress = job.progress
    if job.kind not in {JobKind.JOB_KIND_ARCHIVE, JobKind.JOB_KIND_CRAWL}:
        return ""
    facts = [f"{progress.done_item_count}/{progress.found_item_count}"]
    for count, what in (
        (progress.unchanged_item_count, "unchanged"),
        (progress.failed_item_count, "failed"),
        (progress.skipped_item_count, "left out"),
    ):
        if count:
            facts.append(f"{count} {what}")
    return ", ".join(facts)


def delivery(job: Job) -> str:
    """Return how far the report of the job's end is; empty where there is none."""
    if not job.HasField("webhook_delivery"):
        return ""
    told = job.webhook_delivery
    name = WebhookDeliveryState.Name(told.state).removeprefix("WEBHOOK_DELIVERY_STATE_").lower()
    status = f", HTTP {told.http_status}" if told.HasField("http_status") else ""
    reason = f", {told.reason}" if told.reason else ""
    return f"{name}, {told.attempt_count} attempts{status}{reason}"


def show_item_errors(session: Session, job: Job) -> None:
    """Show why items of an archive or a crawl, or rows of a table, were left out."""
    if not job.item_errors:
        return
    rows = [(one_line(each.item), each.reason, one_line(each.message)) for each in job.item_errors]
    session.output.table(("item", "reason", "message"), rows)
    more = job.progress.failed_item_count - len(job.item_errors)
    if more > 0:
        session.output.note(f"{more} more failed")


def show(session: Session, job: Job) -> None:
    """Show a job, with all that is known of it."""
    if session.output.is_json:
        session.output.document(job)
        return
    progress = job.progress
    session.output.fields(
        [
            ("id", job.id),
            ("collection", job.collection_id),
            ("document", job.document_id),
            ("revision", str(job.document_revision or "")),
            ("kind", kind_name(job)),
            ("found by", job.parent_job_id),
            ("state", state_name(job.state)),
            ("waits", "for another crawl of the collection" if job.is_waiting_for_crawl else ""),
            ("items", items(job)),
            ("cancel asked", "yes" if job.cancel_requested else ""),
            ("attempts", str(job.attempt_count)),
            ("bytes", str(progress.size_bytes) if progress.HasField("size_bytes") else ""),
            ("pages", pages(job)),
            ("chunks", chunks(job)),
            ("tokens", str(progress.token_count) if progress.HasField("token_count") else ""),
            ("reason", job.error.reason),
            ("message", job.error.message),
            ("left out", str(progress.failed_item_count or "") if not items(job) else ""),
            ("webhook", delivery(job)),
            ("accepted", shown_time(job, "create_time")),
            ("began", shown_time(job, "start_time")),
            ("changed", shown_time(job, "update_time")),
            ("ended", shown_time(job, "end_time")),
        ]
    )
    show_item_errors(session, job)


def kind_name(job: Job) -> str:
    """Return `archive` or `crawl`; empty for a document."""
    return {JobKind.JOB_KIND_ARCHIVE: "archive", JobKind.JOB_KIND_CRAWL: "crawl"}.get(job.kind, "")
