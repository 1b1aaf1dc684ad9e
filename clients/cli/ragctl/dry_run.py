"""`ragctl ingest --dry-run`: what would be made of documents, without making it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from rag.v1.dry_run_pb2 import DryRun, DryRunReport
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.errors import CommandFailed, Problem, from_rpc
from ragctl.output import as_dict, one_line
from ragctl.session import Session
from ragctl.sources import Source
from ragctl.submission import Submission, whole_request

MAX_CHUNKS = 1000
"""As many as one call shows."""
TEXT_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What would become of one source."""

    source: Source
    report: DryRunReport
    problem: Problem | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready data."""
        return {
            "source": self.source.label,
            "succeeded": self.problem is None,
            "reason": self.problem.reason if self.problem else "",
            "message": self.problem.message if self.problem else "",
            "report": None if self.problem else as_dict(self.report),
        }


def rehearse(session: Session, submission: Submission, sources: Sequence[Source]) -> bool:
    """Show what would be made of each source, in turn; return whether all would be taken."""
    stub = IngestServiceStub(session.channel)
    rehearsed = [_one(stub, submission, source) for source in sources]
    failed_count = sum(each.problem is not None for each in rehearsed)
    if session.output.is_json:
        session.output.document(
            {
                "documents": [each.as_dict() for each in rehearsed],
                "succeeded_count": len(rehearsed) - failed_count,
                "failed_count": failed_count,
            }
        )
        return not failed_count
    _show_totals(session, rehearsed)
    if len(rehearsed) == 1 and not failed_count:
        _show_chunks(session, rehearsed[0].report)
    session.output.line(
        f"dry run: {len(rehearsed) - failed_count} of {len(rehearsed)} documents would be ingested",
        style="bold",
    )
    return not failed_count


def _one(stub: IngestServiceStub, submission: Submission, source: Source) -> Rehearsed:
    try:
        request = whole_request(submission, source, "")
        request.dry_run.CopyFrom(DryRun(max_chunks=MAX_CHUNKS))
        response = stub.IngestDocument(request, timeout=submission.unary_timeout_s)
    except CommandFailed as error:
        return Rehearsed(source, DryRunReport(), error.problem)
    except grpc.RpcError as error:
        return Rehearsed(source, DryRunReport(), from_rpc(error))
    return Rehearsed(source, response.dry_run)


def _show_totals(session: Session, rehearsed: Sequence[Rehearsed]) -> None:
    session.output.table(
        ("document", ">chunks", ">tokens", ">pages", "format", "language", "title or problem"),
        [
            (
                one_line(each.source.label),
                "" if each.problem else str(each.report.chunk_count),
                "" if each.problem else str(each.report.token_count),
                str(each.report.page_count) if each.report.HasField("page_count") else "",
                each.report.media_type,
                each.report.language,
                one_line(
                    f"{each.problem.reason}: {each.problem.message}" if each.problem else each.report.title
                ),
            )
            for each in rehearsed
        ],
    )


def _show_chunks(session: Session, report: DryRunReport) -> None:
    session.output.table(
        (">chunk", ">tokens", "pages", "heading", "text"),
        [
            (
                str(chunk.ordinal),
                str(chunk.token_count),
                f"{chunk.pages.first}-{chunk.pages.last}" if chunk.HasField("pages") else "",
                one_line(" > ".join(chunk.heading_path)),
                one_line(chunk.text)[:TEXT_WIDTH],
            )
            for chunk in report.chunks
        ],
    )
    if report.HasField("next_first_chunk"):
        session.output.line(f"... and {report.chunk_count - report.next_first_chunk} chunks more")
