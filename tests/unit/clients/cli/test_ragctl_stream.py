from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag.v1.collection_service_pb2 import Collection
from rag.v1.ingest_service_pb2 import IngestDocumentsItemError, IngestDocumentsViolation
from ragctl import submission
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal

COUNT = 7


@pytest.fixture(autouse=True)
def collection(rag: FakeRag) -> None:
    rag.collections["docs"] = Collection(id="docs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        (tmp_path / f"d{number}.md").write_text(f"# Document {number}")
    return tmp_path


def names(rag: FakeRag) -> list[str]:
    return [each.document.document_id for each in rag.calls["items"]]


def test_stream_sends_all_within_the_window_and_waits(
    run: Any, json_of: Any, rag: FakeRag, folder: Path
) -> None:
    arguments = ["--chunking", "tokens:64", "--meta", "kind=x"]
    result = json_of(run("ingest", str(folder), "-c", "docs", "--stream", *arguments, "--json"))
    assert names(rag) == [f"d{number}.md" for number in range(COUNT)]
    assert [each.data for each in rag.calls["items"]] == [b"# Document %d" % n for n in range(COUNT)]
    (start,) = rag.calls["IngestDocuments"]
    assert (start.collection_id, start.chunking.tokens.max_tokens) == ("docs", 64)
    assert rag.calls["items"][0].document.metadata["kind"].string_value == "x"
    assert [each["state"] for each in result["documents"]] == ["SUCCEEDED"] * COUNT
    assert result["succeeded_count"] == COUNT


def test_stream_that_breaks_goes_on_with_what_was_not_answered(
    run: Any, json_of: Any, rag: FakeRag, folder: Path
) -> None:
    rag.stream_breaks = 3
    result = json_of(run("ingest", str(folder), "-c", "docs", "--stream", "--no-wait", "--json"))
    assert result["succeeded_count"] == COUNT
    assert names(rag) == [f"d{number}.md" for number in range(COUNT)]
    first, second = rag.calls["IngestDocuments"]
    assert first.request_id == second.request_id != ""
    assert [each.item_id for each in rag.calls["items"]] == [str(number) for number in range(COUNT)]


def test_stream_that_the_server_ends_for_its_age_is_taken_up_again(
    run: Any, json_of: Any, rag: FakeRag, folder: Path
) -> None:
    rag.stream_breaks, rag.stream_break_status = 3, grpc.StatusCode.DEADLINE_EXCEEDED
    result = json_of(run("ingest", str(folder), "-c", "docs", "--stream", "--no-wait", "--json"))
    assert result["succeeded_count"] == COUNT
    assert len(rag.calls["IngestDocuments"]) == 2


def test_item_that_is_refused_is_one_failed_document(run: Any, rag: FakeRag, folder: Path) -> None:
    rag.item_errors["d2.md"] = [
        IngestDocumentsItemError(
            reason="METADATA_TYPE_MISMATCH",
            message="year is an integer here",
            violations=[IngestDocumentsViolation(field="document.metadata.year", description="x")],
        )
    ]
    result = run("ingest", str(folder), "-c", "docs", "--stream")
    assert result.exit_code == 3
    assert "METADATA_TYPE_MISMATCH" in result.stdout
    assert f"{COUNT - 1} of {COUNT} documents searchable, 1 failed" in result.stdout


def test_item_that_the_server_wants_later_is_sent_again(run: Any, rag: FakeRag, folder: Path) -> None:
    busy = IngestDocumentsItemError(reason="JOB_QUEUE_FULL", message="later", retry_after_ms=1)
    rag.item_errors["d2.md"] = [busy]
    assert run("ingest", str(folder), "-c", "docs", "--stream").exit_code == 0
    assert names(rag).count("d2.md") == 2
    assert len(names(rag)) == COUNT + 1


def test_item_that_the_server_wants_later_for_ever_fails_in_the_end(
    run: Any, rag: FakeRag, folder: Path
) -> None:
    busy = IngestDocumentsItemError(reason="JOB_QUEUE_FULL", message="later", retry_after_ms=1)
    rag.item_errors["d2.md"] = [busy] * 100
    result = run("ingest", str(folder), "-c", "docs", "--stream", "--json")
    assert result.exit_code == 3
    by_source = {each["source"]: each["reason"] for each in json.loads(result.stdout)["documents"]}
    assert by_source.pop("d2.md") == "JOB_QUEUE_FULL"
    assert set(by_source.values()) == {""}


def test_stream_that_is_refused_as_a_whole_fails_every_document(run: Any, rag: FakeRag, folder: Path) -> None:
    rag.refusals["IngestDocuments"].append(
        refusal(grpc.StatusCode.INVALID_ARGUMENT, "no", reason="INVALID_REQUEST")
    )
    result = run("ingest", str(folder), "-c", "docs", "--stream", "--json")
    assert result.exit_code == 3
    assert {each["reason"] for each in json.loads(result.stdout)["documents"]} == {"INVALID_REQUEST"}


def test_stream_uploads_what_is_too_large_and_names_what_cannot_be_read(
    run: Any, rag: FakeRag, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "MAX_DATA_BYTES", 20)
    (folder / "d3.md").write_text("# This one is larger than that")
    (folder / "empty.md").write_text("")
    result = run("ingest", str(folder), "-c", "docs", "--stream", "--json")
    assert rag.uploads == {"d3.md": b"# This one is larger than that"}
    assert "d3.md" not in names(rag)
    assert len(names(rag)) == COUNT - 1
    reasons = {each["source"]: each["reason"] for each in json.loads(result.stdout)["documents"]}
    assert reasons.pop("empty.md") == "DOCUMENT_EMPTY"
    assert set(reasons.values()) == {""}
