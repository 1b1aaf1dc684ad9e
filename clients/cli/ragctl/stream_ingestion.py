"""Ingests many sources over one stream, IngestDocuments, which is taken up again where it broke."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import grpc

from rag.v1.ingest_service_pb2 import (
    IngestDocumentsItem,
    IngestDocumentsItemError,
    IngestDocumentsRequest,
    IngestDocumentsStart,
    IngestDocumentsWindow,
    Job,
)
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.errors import CommandFailed, Problem, from_rpc
from ragctl.ingestion import Outcome, problem_of
from ragctl.sources import Source
from ragctl.submission import Submission, is_for_upload, submit, whole_request
from ragctl.watching import is_final, watch_job

_LOOK_S = 0.5
"""Between two looks of the sending thread at whether the stream is still there."""


class StreamIngestion:
    """One run over many sources. Files that are too large for an item are uploaded one by one."""

    def __init__(self, channel: grpc.Channel, submission: Submission, *, waits: bool = True) -> None:
        self._stub = IngestServiceStub(channel)
        self._submission = submission
        self._waits = waits
        self._request_id = str(uuid.uuid4())
        self._stop = threading.Event()

    def run(self, sources: Sequence[Source]) -> list[Outcome]:
        """Return the outcome of each source, in the order of `sources`.

        Items that were not answered when a stream broke, or that the server wants to have later, are sent
        again, under the same ids, so that none becomes two jobs.
        """
        outcomes: dict[int, Outcome] = {}
        failure_count = 0
        streamed = {index: source for index, source in enumerate(sources) if not is_for_upload(source)}
        while pending := {index: each for index, each in streamed.items() if index not in outcomes}:
            problem, is_progress = self._round(pending, outcomes)
            if problem is None:
                continue
            failure_count = 1 if is_progress else failure_count + 1
            if is_progress and self._is_servers_deadline(problem):
                continue
            if not self._submission.retry.pause(failure_count, problem, self._stop):
                for index, source in pending.items():
                    outcomes.setdefault(index, Outcome(source, problem=problem))
        for index, source in enumerate(sources):
            if index not in outcomes:
                outcomes[index] = self._upload(source)
        ordered = [outcomes[index] for index in range(len(sources))]
        return [self._ended(each) for each in ordered] if self._waits else ordered

    def _is_servers_deadline(self, problem: Problem) -> bool:
        """Whether the server ended a stream that went well, because it has been open for long."""
        is_late = problem.status == grpc.StatusCode.DEADLINE_EXCEEDED.name
        return is_late and self._submission.upload_timeout_s is None

    def _round(
        self, pending: Mapping[int, Source], outcomes: dict[int, Outcome]
    ) -> tuple[Problem | None, bool]:
        """Send what is pending; return why some of it is to be sent again, and whether any was answered."""
        sender = _Sender(self._submission, self._request_id, pending)
        before, later = len(outcomes), None
        call = self._stub.IngestDocuments(iter(sender), timeout=self._submission.upload_timeout_s)
        try:
            for response in call:
                sender.allow(response.window)
                if not response.HasField("item"):
                    continue
                index = int(response.item.item_id)
                if response.item.HasField("job"):
                    outcomes[index] = Outcome(pending[index], response.item.job)
                    continue
                problem = _problem_of_item(response.item.error)
                if problem.retry_after_s is None:
                    outcomes[index] = Outcome(pending[index], problem=problem)
                else:
                    later = problem
        except grpc.RpcError as error:
            later = from_rpc(error)
        finally:
            sender.end()
            call.cancel()
        outcomes.update(sender.unreadable)
        return later, len(outcomes) > before

    def _upload(self, source: Source) -> Outcome:
        try:
            job = submit(self._stub, self._submission, source, sent=lambda _: None, stop=self._stop)
        except grpc.RpcError as error:
            return Outcome(source, problem=from_rpc(error))
        except CommandFailed as error:
            return Outcome(source, problem=error.problem)
        return Outcome(source, job)

    def _ended(self, outcome: Outcome) -> Outcome:
        """Follow the job of an outcome to its end."""
        job = outcome.job
        if job is None:
            return outcome
        try:
            job = self._watched(job)
        except grpc.RpcError as error:
            return replace(outcome, problem=from_rpc(error))
        except CommandFailed as error:
            return replace(outcome, problem=error.problem)
        return Outcome(outcome.source, job, problem_of(job))

    def _watched(self, job: Job) -> Job:
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
        return job


class _Sender:
    """The messages of one stream, as fast as the window allows; iterated over in a thread of gRPC's."""

    def __init__(self, submission: Submission, request_id: str, pending: Mapping[int, Source]) -> None:
        self._submission = submission
        self._request_id = request_id
        self._pending = pending
        self._window = IngestDocumentsWindow()
        self._is_ended = False
        self._changed = threading.Condition()
        self.unreadable: dict[int, Outcome] = {}

    def allow(self, window: IngestDocumentsWindow) -> None:
        """Take note of how much may be sent."""
        with self._changed:
            self._window = window
            self._changed.notify_all()

    def end(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[IngestDocumentsRequest]:
        submission = self._submission
        yield IngestDocumentsRequest(
            start=IngestDocumentsStart(
                collection_id=submission.collection_id,
                chunking=submission.chunking,
                request_id=self._request_id,
            )
        )
        item_count = content_bytes = 0
        for index, source in self._pending.items():
            if not self._wait(item_count, content_bytes):
                return
            try:
                whole = whole_request(submission, source, "")
            except CommandFailed as error:
                self.unreadable[index] = Outcome(source, problem=error.problem)
                continue
            item = IngestDocumentsItem(item_id=str(index), document=whole.document)
            match whole.WhichOneof("source"):
                case "uri":
                    item.uri = whole.uri
                case "text":
                    item.text = whole.text
                case _:
                    item.data = whole.data
            item_count += 1
            content_bytes += len(item.data) + len(item.text.encode())
            yield IngestDocumentsRequest(item=item)

    def _wait(self, item_count: int, content_bytes: int) -> bool:
        """Wait until another item may be sent; False: none may, the stream has ended."""
        with self._changed:
            while not self._is_ended:
                if item_count < self._window.item_count and content_bytes < self._window.content_bytes:
                    return True
                self._changed.wait(_LOOK_S)
        return False


def _problem_of_item(error: IngestDocumentsItemError) -> Problem:
    is_later = error.HasField("retry_after_ms")
    return Problem(
        error.reason,
        error.message,
        status=grpc.StatusCode.RESOURCE_EXHAUSTED.name if is_later else "",
        violations=tuple((each.field, each.description) for each in error.violations),
        metadata=dict(error.metadata),
        retry_after_s=error.retry_after_ms / 1000 if is_later else None,
    )
