from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag.v1.chunk_pb2 import PageRange
from rag.v1.dry_run_pb2 import DraftChunk, DryRunReport
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal

REPORT = DryRunReport(
    document_id="a.pdf",
    media_type="application/pdf",
    language="en",
    title="The [bold] heron",
    page_count=3,
    chunk_count=5,
    token_count=77,
    chunks=[
        DraftChunk(
            ordinal=0,
            text="It waits\nby the river.",
            heading_path=["Birds", "Herons"],
            token_count=12,
            pages=PageRange(first=1, last=2),
        )
    ],
    next_first_chunk=1,
)


@pytest.fixture(autouse=True)
def report(rag: FakeRag) -> None:
    rag.dry_run_report = REPORT


def test_dry_run_of_one_document_shows_totals_and_chunks(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    result = run(
        "ingest", str(tmp_path / "a.pdf"), "-c", "docs", "--dry-run", "--chunking", "tokens:64", "--create"
    )
    assert result.exit_code == 0
    for shown in (
        "The [bold] heron",
        "77",
        "application/pdf",
        "Birds > Herons",
        "It waits by the river.",
        "1-2",
    ):
        assert shown in result.stdout
    assert "... and 4 chunks more" in result.stdout
    assert "dry run: 1 of 1 documents would be ingested" in result.stdout
    (request,) = rag.calls["IngestDocument"]
    assert request.HasField("dry_run")
    assert (request.data, request.document.file_name) == (b"%PDF", "a.pdf")
    assert request.chunking.tokens.max_tokens == 64
    assert rag.calls["CreateCollection"] == []  # not even that is written
    assert rag.jobs == {}


def test_dry_run_of_several_documents_tells_which_would_fail(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.md").write_text(name)
    rag.refusals["IngestDocument"].append(
        refusal(grpc.StatusCode.INVALID_ARGUMENT, "needs a password", reason="DOCUMENT_ENCRYPTED")
    )
    result = run("ingest", str(tmp_path), "-c", "docs", "--dry-run", "--json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert (found["succeeded_count"], found["failed_count"]) == (2, 1)
    assert [each["reason"] for each in found["documents"]] == ["DOCUMENT_ENCRYPTED", "", ""]
    assert found["documents"][1]["report"]["chunk_count"] == 5
    assert found["documents"][0]["report"] is None


def test_dry_run_of_an_address_and_of_standard_input(run: Any, rag: FakeRag) -> None:
    assert run("ingest", "https://example.org/x", "-c", "docs", "--dry-run").exit_code == 0
    assert run("ingest", "-", "--id", "note", "-c", "docs", "--dry-run", input="hola").exit_code == 0
    assert [each.WhichOneof("source") for each in rag.calls["IngestDocument"]] == ["uri", "text"]
