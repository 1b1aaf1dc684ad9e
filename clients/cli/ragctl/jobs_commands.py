"""`ragctl jobs`: list, get, watch, cancel."""

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
)
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.exit_codes import ExitCode
from ragctl.moments import shown_time
from ragctl.options import command
from ragctl.paging import DEFAULT_LIMIT, All, Limit, PageToken, collect
from ragctl.session import Session
from ragctl.watching import is_final, state_name, watch_job

app = typer.Typer(help="Show, follow and cancel ingest jobs.", no_args_is_help=True)

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
            states=states,
            page_size=page_size,
            page_token=token,
        )
        response = stub.ListJobs(request, timeout=session.unary_timeout_s)
        return list(response.jobs), response.next_page_token

    items, token = collect(fetch, limit=None if everything else limit, page_token=page_token)
    if session.output.is_json:
        session.output.document(ListJobsResponse(jobs=items, next_page_token=token))
        return
    session.output.table(
        ("=job", "collection", "document", "state", ">chunks", "updated", "reason"),
        [
            (
                each.id,
                each.collection_id,
                each.document_id,
                state_name(each.state),
                _chunks(each),
                shown_time(each, "update_time"),
                each.error.reason,
            )
            for each in items
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
    _show(session, stub.GetJob(request, timeout=session.unary_timeout_s).job)


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
            chunks = _chunks(job)
            facts = [
                shown_time(job, "update_time"),
                state_name(job.state),
                f"{chunks} chunks" if chunks else "",
            ]
            session.output.line("  ".join(each for each in facts if each))
    if is_final(job) and job.state != JobState.JOB_STATE_SUCCEEDED:
        if job.HasField("error") and not session.output.is_json:
            session.output.line(f"{job.error.reason}: {job.error.message}", style="red")
        raise typer.Exit(ExitCode.FAILED)


@app.command("cancel")
@command
def cancel_job(session: Session, job_id: JobId) -> None:
    """Ask a job to stop. One that has ended stays as it is."""
    request = CancelJobRequest(job_id=job_id, request_id=str(uuid.uuid4()))
    stub = IngestServiceStub(session.channel)
    _show(session, stub.CancelJob(request, timeout=session.unary_timeout_s).job)


def _chunks(job: Job) -> str:
    """Return `embedded/total` while the job embeds, the total afterwards; empty before."""
    progress = job.progress
    if not progress.HasField("chunk_count"):
        return ""
    if job.state == JobState.JOB_STATE_EMBEDDING:
        return f"{progress.embedded_chunk_count}/{progress.chunk_count}"
    return str(progress.chunk_count)


def _show(session: Session, job: Job) -> None:
    if session.output.is_json:
        session.output.document(job)
        return
    progress = job.progress
    session.output.fields(
        [
            ("id", job.id),
            ("collection", job.collection_id),
            ("document", job.document_id),
            ("revision", str(job.document_revision)),
            ("state", state_name(job.state)),
            ("cancel asked", "yes" if job.cancel_requested else ""),
            ("attempts", str(job.attempt_count)),
            ("bytes", str(progress.size_bytes) if progress.HasField("size_bytes") else ""),
            ("pages", str(progress.page_count) if progress.HasField("page_count") else ""),
            ("chunks", _chunks(job)),
            ("tokens", str(progress.token_count) if progress.HasField("token_count") else ""),
            ("reason", job.error.reason),
            ("message", job.error.message),
            ("accepted", shown_time(job, "create_time")),
            ("began", shown_time(job, "start_time")),
            ("changed", shown_time(job, "update_time")),
            ("ended", shown_time(job, "end_time")),
        ]
    )
