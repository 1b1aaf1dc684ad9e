"""`ragctl reconcile`: compares the server's stores, and repairs them."""

from __future__ import annotations

from typing import Annotated

import typer

from rag.v1.admin_service_pb2 import ReconcileKind, ReconcileRequest, ReconcileSummary
from rag.v1.admin_service_pb2_grpc import AdminServiceStub
from ragctl.exit_codes import ExitCode
from ragctl.options import command
from ragctl.output import enum_name
from ragctl.session import Session


@command
def reconcile(
    session: Session,
    *,
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Only this collection. Default: all.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be repaired.")] = False,
) -> None:
    """Compare metadata, chunks and bytes, and repair; exit code 1 when something is left unrepaired."""
    stub = AdminServiceStub(session.channel)
    request = ReconcileRequest(collection_id=collection, dry_run=dry_run)
    call = stub.Reconcile(request, timeout=session.stream_timeout_s)
    summary = ReconcileSummary()
    try:
        for response in call:
            if session.output.is_json:
                session.output.json_line(response)
            if response.WhichOneof("part") == "summary":
                summary = response.summary
            elif not session.output.is_json:
                finding = response.finding
                facts = [
                    enum_name(ReconcileKind, finding.kind),
                    finding.collection_id,
                    f"{finding.document_id}@{finding.document_revision}" if finding.document_id else "",
                    f"{finding.chunk_count} chunks" if finding.chunk_count else "",
                    finding.sha256,
                    "repaired" if finding.is_repaired else "",
                    f"job {finding.job_id}" if finding.job_id else "",
                ]
                session.output.line("  ".join(each for each in facts if each))
    finally:
        call.cancel()
    if not session.output.is_json:
        session.output.line(
            f"{summary.collection_count} collections, {summary.document_count} documents and "
            f"{summary.chunk_count} chunks compared: {summary.finding_count} findings, "
            f"{summary.repaired_count} repaired",
            style="bold",
        )
    if summary.finding_count > summary.repaired_count:
        raise typer.Exit(ExitCode.FAILED)
