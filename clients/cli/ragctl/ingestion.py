"""Ingests many sources at once, a bounded number in flight, and says what became of each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from rag.v1.ingest_service_pb2 import Job, JobState
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.errors import UNREACHABLE, CommandFailed, Problem, from_rpc
from ragctl.sources import Source
from ragctl.submission import Submission, submit
from ragctl.watching import is_final, state_name, watch_job

_LOOK_S = 0.2
"""An interrupt that comes just as the main thread begins to wait is noticed at the next look only."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one source."""

    source: Source
    job: Job | None = None
    """The job as last seen; None: the server took none."""
    problem: Problem | None = None
    """Why it failed; None: it did not."""

    @property
    def state(self) -> str:
        """The job's state, or FAILED when there is no job."""
        return "FAILED" if self.job is None else state_name(self.job.state)

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON-ready data."""
        job = self.job or Job()
        return {
            "source": self.source.label,
            "document_id": job.document_id or self.source.document_id,
            "job_id": job.id,
            "state": self.state,
            "chunk_count": job.progress.chunk_count,
            "failed_item_count": job.progress.failed_item_count,
            "item_errors": [
                {"item": each.item, "reason": each.reason, "message": each.message}
                for each in job.item_errors
            ],
            "succeeded": self.problem is None,
            "reason": self.problem.reason if self.problem else "",
            "message": self.problem.message if self.problem else "",
            "request_id": self.problem.request_id if self.problem else "",
        }


class Observer(Protocol):
    """Is told how far each source is; called from several threads."""

    def began(self, source: Source) -> None:
        """The source is next."""

    def sent(self, source: Source, byte_count: int) -> None:
        """So many bytes of the source have gone out."""

    def changed(self, source: Source, job: Job) -> None:
        """The source's job has come to this."""

    def ended(self, outcome: Outcome) -> None:
        """The source is done, well or badly."""


class Ingestion:
    """One run over many sources."""

    def __init__(
        self, channel: grpc.Channel, submission: Submission, observer: Observer, *, waits: bool = True
    ) -> None:
        self._channel = channel
        self._stub = IngestServiceStub(channel)
        self._submission = submission
        self._observer = observer
        self._waits = waits
        self._stop = threading.Event()
        self._is_unreachable = threading.Event()

    def run(self, sources: Sequence[Source], *, concurrency: int) -> list[Outcome]:
        """Return the outcome of each source, in the order of `sources`.

        When the server stays away for the whole of one source's retries, the sources that have not begun
        are given up too. An interrupt cancels the calls under way; jobs that were accepted go on.
        """
        with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="ingest") as executor:
            futures = [executor.submit(self._one, source) for source in sources]
            try:
                while (state := wait(futures, _LOOK_S, FIRST_EXCEPTION)).not_done:
                    if any(future.exception() for future in state.done):
                        break
                return [future.result() for future in futures]
            except BaseException:
                self._stop.set()
                executor.shutdown(wait=False, cancel_futures=True)
                self._channel.close()
                raise

    def _one(self, source: Source) -> Outcome:
        self._observer.began(source)
        job: Job | None = None
        if self._is_unreachable.is_set():
            outcome = Outcome(source, problem=Problem(UNREACHABLE, "not tried: the server stopped answering"))
            self._observer.ended(outcome)
            return outcome
        try:
            job = submit(
                self._stub,
                self._submission,
                source,
                sent=lambda byte_count: self._observer.sent(source, byte_count),
                stop=self._stop,
            )
            if self._waits:
                job = self._wait(source, job)
            outcome = Outcome(source, job, problem_of(job))
        except grpc.RpcError as error:
            problem = from_rpc(error)
            if problem.reason == UNREACHABLE:
                self._is_unreachable.set()
            outcome = Outcome(source, job, problem)
        except CommandFailed as error:
            outcome = Outcome(source, job, error.problem)
        self._observer.ended(outcome)
        return outcome

    def _wait(self, source: Source, job: Job) -> Job:
        self._observer.changed(source, job)
        if is_final(job):
            return job
        for response in watch_job(
            self._stub,
            job.id,
            timeout_s=self._submission.upload_timeout_s,
            retry=self._submission.retry,
            stop=self._stop,
        ):
            job = response.job
            self._observer.changed(source, job)
        return job


def problem_of(job: Job) -> Problem | None:
    """Return why a job has failed; None: it has not."""
    if job.state == JobState.JOB_STATE_FAILED:
        return Problem(job.error.reason or "FAILED", job.error.message, metadata=dict(job.error.metadata))
    if job.state == JobState.JOB_STATE_CANCELLED:
        return Problem("CANCELLED", "the job was cancelled")
    if job.state == JobState.JOB_STATE_PARTIALLY_SUCCEEDED:
        count = job.progress.failed_item_count
        first = "".join(f", the first: {each.item}: {each.message}" for each in job.item_errors[:1])
        return Problem("PARTIALLY_SUCCEEDED", f"{count} items failed (ragctl jobs get {job.id}){first}")
    return None
