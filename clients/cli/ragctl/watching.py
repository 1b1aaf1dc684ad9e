"""Follows a job to its end, through restarts of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc

from rag.v1.ingest_service_pb2 import Job, JobState, WatchJobRequest, WatchJobResponse
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.errors import CommandFailed, Problem, from_rpc
from ragctl.retry import Retry

SUCCESSES = frozenset({JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_PARTIALLY_SUCCEEDED})
FINAL_STATES = frozenset(
    {
        JobState.JOB_STATE_SUCCEEDED,
        JobState.JOB_STATE_PARTIALLY_SUCCEEDED,
        JobState.JOB_STATE_FAILED,
        JobState.JOB_STATE_CANCELLED,
    }
)


def state_name(state: JobState.ValueType) -> str:
    """Return a state as people read it: `EMBEDDING`."""
    known = dict(zip(JobState.values(), JobState.keys(), strict=True))
    return known.get(state, str(int(state))).removeprefix("JOB_STATE_")


def is_final(job: Job) -> bool:
    """Return whether the job has ended."""
    return job.state in FINAL_STATES


def watch_job(
    stub: IngestServiceStub,
    job_id: str,
    *,
    cursor: str = "",
    timeout_s: float | None = None,
    retry: Retry | None = None,
    stop: threading.Event | None = None,
) -> Iterator[WatchJobResponse]:
    """Yield each change of the job up to its final state.

    A stream that breaks is taken up again at its cursor, so that no change is lost or shown twice.
    `timeout_s` bounds each stream; without it, one that the server ends at its own deadline is taken up too.

    Raises:
        grpc.RpcError: The watch failed for good.
        CommandFailed: The server kept ending the stream without a final state.
    """
    retry = retry or Retry()
    stop = stop or threading.Event()
    failure_count = 0
    while True:
        call = stub.WatchJob(WatchJobRequest(job_id=job_id, cursor=cursor), timeout=timeout_s)
        try:
            for response in call:
                cursor, failure_count = response.cursor, 0
                yield response
                if is_final(response.job):
                    return
            problem = Problem(
                "WATCH_ENDED",
                f"the server ended the watch of job {job_id!r} before the job ended",
                status=grpc.StatusCode.UNAVAILABLE.name,
            )
            failure_count += 1
            if not retry.pause(failure_count, problem, stop):
                raise CommandFailed(problem)
        except grpc.RpcError as error:
            problem = from_rpc(error)
            if timeout_s is None and problem.status == grpc.StatusCode.DEADLINE_EXCEEDED.name:
                continue
            failure_count += 1
            if not retry.pause(failure_count, problem, stop):
                raise
        finally:
            call.cancel()
