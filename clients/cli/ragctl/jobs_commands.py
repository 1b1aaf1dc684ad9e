"""`ragctl jobs`: list, get, watch, cancel, retry."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Annotated

import typer

from rag.v1.ingest_service_pb2 import (
    CancelJobRequest,
    GetJobRequest,
    Job,
    JobState,
    ListJobsRequest,
    ListJobsResponse,
    RetryJobRequest,
)
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.exit_codes import ExitCode
from ragctl.job_view import chunks, items, show, show_item_errors
from ragctl.moments import shown_time
from ragctl.options import command
from ragctl.paging import DEFAULT_LIMIT, All, Limit, PageToken, collect
from ragctl.session import Session
from ragctl.watching import is_final, state_name, watch_job

app = typer.Typer(help="Show, follow, cancel and retry ingest jobs.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job.")]


class State(StrEnum):
    """States that a list can be narrowed to."""

    QUEUED = "queued"
    FETCHING = "fetching"
    PARSING = "parsing"
    CHUNKING = "chunking"
    EMBEDDING = "embedding"
    INDEXING = "indexing"
    SUCCEEDED = "succeeded"
    PARTIALLY_SUCCEEDED = "partially_succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@app.command("list")
@command
def list_jobs(
    session: Session,
    *,
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Only the jobs of this collection.")
    ] = "",
    document: Annotated[str, typer.Option("--document", help="Only the jobs of this document.")] = "",
    parent: Annotated[
        str, typer.Option("--parent", metavar="JOB", help="Only the jobs that this archive or crawl made.")
    ] = "",
    state: Annotated[
        list[State] | None, typer.Option("--state", help="Only the jobs in this state; repeatable.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    page_token: PageToken = "",
) -> None:
    """List jobs, newest first."""
    stub = IngestServiceStub(session.channel)
    states = [JobState.Value(f"JOB_STATE_{each.name}") for each in state or ()]

    def fetch(page_size: int, token: str) -> tuple[list[Job], str]:
        request = ListJobsRequest(
            collection_id=collection,
            document_id=document,
            parent_job_id=parent,
            states=states,
            page_size=page_size,
            page_token=token,
        )
        response = stub.ListJobs(request, timeout=session.unary_timeout_s)
        return list(response.jobs), response.next_page_token

    found, token = collect(fetch, limit=None if everything else limit, page_token=page_token)
    if session.output.is_json:
        session.output.document(ListJobsResponse(jobs=found, next_page_token=token))
        return
    session.output.table(
        ("=job", "collection", "document", "state", ">chunks", "items", "updated", "reason"),
        [
            (
                each.id,
                each.collection_id,
                each.document_id,
                state_name(each.state),
                chunks(each),
                items(each),
                shown_time(each, "update_time"),
                each.error.reason,
            )
            for each in found
        ],
    )
    if token:
        session.output.note(f"there are more: --all, or --page-token {token}")


@app.command("get")
@command
def get_job(session: Session, job_id: JobId) -> None:
    """Show a job."""
    request = GetJobRequest(job_id=job_id)
    stub = IngestServiceStub(session.channel)
    show(session, stub.GetJob(request, timeout=session.unary_timeout_s).job)


@app.command("watch")
@command
def watch(
    session: Session,
    job_id: JobId,
    cursor: Annotated[
        str, typer.Option("--cursor", help="Go on after this cursor of an earlier watch.")
    ] = "",
) -> None:
    """Follow a job to its end; exit code 1 unless it succeeds. A broken stream is taken up again."""
    stub = IngestServiceStub(session.channel)
    job = Job()
    for response in watch_job(stub, job_id, cursor=cursor, timeout_s=session.stream_timeout_s):
        job = response.job
        if session.output.is_json:
            session.output.json_line(response)
        else:
            count = chunks(job)
            facts = [
                shown_time(job, "update_time"),
                state_name(job.state),
                f"{count} chunks" if count else "",
                items(job),
            ]
            session.output.line("  ".join(each for each in facts if each))
    if job.state == JobState.JOB_STATE_PARTIALLY_SUCCEEDED:
        if not session.output.is_json:
            show_item_errors(session, job)
        raise typer.Exit(ExitCode.PARTLY_FAILED)
    if is_final(job) and job.state != JobState.JOB_STATE_SUCCEEDED:
        if job.HasField("error") and not session.output.is_json:
            session.output.line(f"{job.error.reason}: {job.error.message}", style="red")
        if not session.output.is_json:
            show_item_errors(session, job)
        raise typer.Exit(ExitCode.FAILED)


@app.command("cancel")
@command
def cancel_job(session: Session, job_id: JobId) -> None:
    """Ask a job to stop. One that has ended stays as it is."""
    request = CancelJobRequest(job_id=job_id, request_id=str(uuid.uuid4()))
    stub = IngestServiceStub(session.channel)
    show(session, stub.CancelJob(request, timeout=session.unary_timeout_s).job)


@app.command("retry")
@command
def retry_job(session: Session, job_id: JobId) -> None:
    """Take up a failed job again, as if its document had been handed in just now."""
    request = RetryJobRequest(job_id=job_id, request_id=str(uuid.uuid4()))
    stub = IngestServiceStub(session.channel)
    show(session, stub.RetryJob(request, timeout=session.unary_timeout_s).job)
