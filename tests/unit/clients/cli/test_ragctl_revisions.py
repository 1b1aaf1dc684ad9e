from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag.v1.admin_service_pb2 import (
    ReconcileFinding,
    ReconcileKind,
    ReconcileResponse,
    ReconcileSummary,
)
from rag.v1.document_service_pb2 import (
    BatchDeleteDocumentsResponse,
    DocumentRevision,
    DownloadDocumentResponse,
    DownloadStart,
)
from rag.v1.ingest_service_pb2 import JobError
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal

DATA = b"\x00\xffbytes of a document" * 10


def _download(data: bytes = DATA, *, sha256: str = "") -> list[DownloadDocumentResponse]:
    start = DownloadStart(revision=3, size_bytes=len(DATA), sha256=sha256 or hashlib.sha256(DATA).hexdigest())
    pieces = [data[:7], data[7:]]
    return [
        DownloadDocumentResponse(start=start),
        *(DownloadDocumentResponse(data=piece) for piece in pieces),
    ]


def test_documents_revisions_shows_each_and_the_visible_one(run: Any, json_of: Any, rag: FakeRag) -> None:
    rag.revisions = [
        DocumentRevision(revision=2, is_visible=True, title="New", sha256="b" * 64),
        DocumentRevision(revision=1, title="Old", sha256="a" * 64),
    ]
    shown = run("documents", "revisions", "a", "-c", "docs").stdout
    for text in ("New", "Old", "yes", "b" * 12):
        assert text in shown
    data = json_of(run("documents", "revisions", "a", "-c", "docs", "-n", "1", "--json"))
    assert [each["revision"] for each in data["revisions"]] == ["2"]
    assert data["next_page_token"]


def test_documents_restore_waits_for_the_job(run: Any, json_of: Any, rag: FakeRag) -> None:
    result = run("documents", "restore", "a.pdf", "-c", "docs", "-r", "2")
    assert result.exit_code == 0
    assert "succeeded" in result.stdout
    (request,) = rag.calls["RestoreDocumentRevision"]
    assert (request.collection_id, request.document_id, request.revision) == ("docs", "a.pdf", 2)
    assert request.request_id
    assert rag.calls["WatchJob"]
    data = json_of(run("documents", "restore", "a.pdf", "-c", "docs", "--no-wait", "--json"))
    assert data["id"] == "restoring"
    assert not rag.calls["RestoreDocumentRevision"][1].HasField("revision")
    assert len(rag.calls["WatchJob"]) == 1


def test_documents_restore_that_fails_ends_with_1(run: Any, rag: FakeRag) -> None:
    rag.job_failures["a"] = JobError(reason="BLOB_NOT_FOUND", message="gone")
    result = run("documents", "restore", "a", "-c", "docs")
    assert result.exit_code == 1
    assert "BLOB_NOT_FOUND" in result.stdout


def test_documents_download_writes_the_bytes(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    rag.download = _download()
    target = tmp_path / "a.bin"
    result = run("documents", "download", "a", "-c", "docs", "-o", str(target), "-r", "3")
    assert result.exit_code == 0
    assert target.read_bytes() == DATA
    assert rag.calls["DownloadDocument"][0].revision == 3
    assert [each.name for each in tmp_path.iterdir()] == ["a.bin"]
    assert "revision 3" in result.stdout


def test_documents_download_to_standard_output_is_the_bytes_alone(run: Any, rag: FakeRag) -> None:
    rag.download = _download()
    result = run("documents", "download", "a", "-c", "docs", "-o", "-")
    assert result.stdout_bytes == DATA


@pytest.mark.parametrize("broken", [_download(DATA[:-1]), _download(sha256="0" * 64), []])
def test_documents_download_of_other_bytes_leaves_no_file(
    run: Any, rag: FakeRag, tmp_path: Path, broken: list[Any]
) -> None:
    rag.download = broken or [DownloadDocumentResponse(start=DownloadStart(size_bytes=5))]
    result = run("documents", "download", "a", "-c", "docs", "-o", str(tmp_path / "a.bin"))
    assert result.exit_code == 1
    assert "CHECKSUM_MISMATCH" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_documents_download_that_is_refused_leaves_the_old_file(
    run: Any, rag: FakeRag, tmp_path: Path
) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    rag.refusals["DownloadDocument"] = [
        refusal(grpc.StatusCode.NOT_FOUND, "no revision", reason="REVISION_NOT_FOUND")
    ]
    result = run("documents", "download", "a", "-c", "docs", "-o", str(target))
    assert result.exit_code == 1
    assert "REVISION_NOT_FOUND" in result.stderr
    assert target.read_bytes() == b"old"


def test_documents_download_into_no_folder_is_a_usage_error(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    rag.download = _download()
    result = run("documents", "download", "a", "-c", "docs", "-o", str(tmp_path / "none" / "a"))
    assert result.exit_code == 2


def test_documents_delete_all_goes_on_until_nothing_is_left(run: Any, json_of: Any, rag: FakeRag) -> None:
    rag.batch_deletions = [
        BatchDeleteDocumentsResponse(deleted_count=2, remaining_count=1, document_ids=["a", "b"]),
        BatchDeleteDocumentsResponse(deleted_count=1, document_ids=["c"], collection_revision=9),
    ]
    data = json_of(run("documents", "delete-all", "-c", "docs", "-f", "year<2000", "--json"))
    assert (data["deleted_count"], data["document_ids"]) == ("3", ["a", "b", "c"])
    first, second = rag.calls["BatchDeleteDocuments"]
    assert first.filter.comparison.field == second.filter.comparison.field == "metadata.year"
    assert first.request_id != second.request_id


def test_documents_delete_all_by_name_shows_what_is_missing(run: Any, rag: FakeRag) -> None:
    rag.batch_deletions = [
        BatchDeleteDocumentsResponse(
            deleted_count=1, document_ids=["a"], missing_document_ids=["x"], collection_revision=9
        )
    ]
    result = run("documents", "delete-all", "-c", "docs", "a", "x")
    assert list(rag.calls["BatchDeleteDocuments"][0].documents.ids) == ["a", "x"]
    assert result.stdout.split() == ["a"]
    assert "no document x" in result.stderr
    assert "1 deleted" in result.stderr


def test_documents_delete_all_dry_run_asks_once(run: Any, rag: FakeRag) -> None:
    rag.batch_deletions = [
        BatchDeleteDocumentsResponse(matched_count=7, remaining_count=7, document_ids=["a"])
    ]
    result = run("documents", "delete-all", "-c", "docs", "-f", "year?", "--dry-run")
    assert rag.calls["BatchDeleteDocuments"][0].dry_run
    assert "7 would be deleted" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["a", "-f", "year?"], ["-f", "year ~ 3"]])
def test_documents_delete_all_without_one_clear_selection_is_a_usage_error(
    run: Any, rag: FakeRag, arguments: list[str]
) -> None:
    result = run("documents", "delete-all", "-c", "docs", *arguments)
    assert result.exit_code == 2
    assert not rag.calls["BatchDeleteDocuments"]


def _reconciliation(*, is_repaired: bool) -> list[ReconcileResponse]:
    finding = ReconcileFinding(
        kind=ReconcileKind.RECONCILE_KIND_ORPHAN_CHUNKS,
        collection_id="docs",
        document_id="a",
        document_revision=4,
        chunk_count=12,
        is_repaired=is_repaired,
    )
    summary = ReconcileSummary(collection_count=2, finding_count=1, repaired_count=int(is_repaired))
    return [ReconcileResponse(finding=finding), ReconcileResponse(summary=summary)]


def test_reconcile_shows_findings_and_their_sum(run: Any, rag: FakeRag) -> None:
    rag.reconciliation = _reconciliation(is_repaired=True)
    result = run("reconcile", "-c", "docs")
    assert result.exit_code == 0
    for text in ("orphan chunks", "a@4", "12 chunks", "repaired", "1 findings"):
        assert text in result.stdout
    assert rag.calls["Reconcile"][0].collection_id == "docs"


def test_reconcile_that_leaves_something_ends_with_1(run: Any, rag: FakeRag) -> None:
    rag.reconciliation = _reconciliation(is_repaired=False)
    result = run("reconcile", "--dry-run", "--json")
    assert result.exit_code == 1
    assert rag.calls["Reconcile"][0].dry_run
    assert len(result.stdout.splitlines()) == 2
