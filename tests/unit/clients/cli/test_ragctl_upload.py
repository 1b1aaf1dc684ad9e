from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag.v1.ingest_service_pb2 import JobError, Upload
from ragctl.submission import PIECE_BYTES
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal

DATA = bytes(range(256)) * (PIECE_BYTES // 64) + b"end"
"""Four pieces and a few bytes."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "big file.pdf"
    path.write_bytes(DATA)
    return path


def test_upload_opens_sends_and_waits(run: Any, json_of: Any, rag: FakeRag, file: Path) -> None:
    arguments = ["--meta", "year:int=2026", "--title", "T", "--media-type", "application/pdf"]
    result = json_of(run("upload", str(file), "-c", "docs", *arguments, "--json"))
    (start,) = rag.calls["StartUpload"]
    assert (start.collection_id, start.sha256) == ("docs", hashlib.sha256(DATA).hexdigest())
    assert (start.document.title, start.document.media_type) == ("T", "application/pdf")
    assert start.document.file_name == "big file.pdf"
    assert start.document.document_id.startswith("big-file-")
    assert start.document.metadata["year"].integer_value == 2026
    assert start.request_id
    assert rag.uploads["upload-0"] == DATA
    assert (result["upload_id"], result["job"]["state"]) == ("upload-0", "JOB_STATE_SUCCEEDED")


def test_upload_says_how_to_go_on_and_goes_on_by_itself(run: Any, rag: FakeRag, file: Path) -> None:
    rag.upload_breaks = 3
    result = run("upload", str(file), "-c", "docs", "--no-wait")
    assert result.exit_code == 0
    assert rag.uploads["upload-0"] == DATA
    assert rag.calls["UploadDocument"][-1].offset == 2 * PIECE_BYTES
    assert f"ragctl upload {file} --resume upload-0" in result.stderr
    assert "going on after 2.0 MiB of 4.0 MiB" in result.stderr
    assert "uploaded: QUEUED (job job-0)" in result.stdout


@pytest.mark.parametrize(("arguments", "exit_code"), [([], 0), (["--timeout", "60"], 5)])
def test_upload_that_the_server_ends_for_its_age_goes_on_unless_the_deadline_was_ours(
    run: Any, rag: FakeRag, file: Path, arguments: list[str], exit_code: int
) -> None:
    rag.refusals["UploadDocument"].append(
        refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "an hour", reason="DEADLINE_EXCEEDED")
    )
    assert run("upload", str(file), "-c", "docs", *arguments).exit_code == exit_code


def test_upload_resumes_by_id_where_the_server_is(run: Any, rag: FakeRag, file: Path) -> None:
    rag.open_uploads["u"] = Upload(id="u", collection_id="docs", offset=PIECE_BYTES + 5)
    rag.uploads["u"] = DATA[: PIECE_BYTES + 5]
    assert run("upload", str(file), "--resume", "u").exit_code == 0
    assert rag.uploads["u"] == DATA
    assert rag.calls["StartUpload"] == []


def test_upload_whose_answer_was_lost_is_not_sent_again(run: Any, rag: FakeRag, file: Path) -> None:
    rag.refusals["UploadDocument"].append(refusal(grpc.StatusCode.UNAVAILABLE, "lost"))
    assert run("upload", str(file), "-c", "docs").exit_code == 0
    assert rag.uploads["upload-0"] == DATA
    offsets = [each.offset for each in rag.calls["UploadDocument"]]
    assert offsets == [0, len(DATA)]


def test_upload_that_another_call_got_further_with_goes_on_from_there(
    run: Any, rag: FakeRag, file: Path
) -> None:
    rag.open_uploads["u"] = Upload(id="u", collection_id="docs", offset=3)
    rag.uploads["u"] = DATA[:3]
    get = rag.GetUpload
    seen = []

    def stale_once(request: Any, context: Any) -> Any:
        response = get(request, context)
        seen.append(response.upload.offset)
        if len(seen) == 1:
            copy = type(response)()
            copy.CopyFrom(response)
            copy.upload.offset = 0
            return copy
        return response

    rag.GetUpload = stale_once  # type: ignore[method-assign]
    assert run("upload", str(file), "--resume", "u").exit_code == 0
    assert rag.uploads["u"] == DATA


@pytest.mark.parametrize("arguments", [[], ["-c", "docs", "--resume", "u"]])
def test_upload_needs_either_collection_or_id(run: Any, file: Path, arguments: list[str]) -> None:
    result = run("upload", str(file), *arguments)
    assert result.exit_code == 2
    assert "either --collection, or --resume" in result.stderr


def test_upload_of_an_unknown_id_tells_so(run: Any, file: Path) -> None:
    result = run("upload", str(file), "--resume", "none")
    assert result.exit_code == 1
    assert "UPLOAD_NOT_FOUND" in result.stderr


def test_upload_of_a_file_that_is_shorter_than_what_the_server_has_is_refused(
    run: Any, rag: FakeRag, file: Path
) -> None:
    rag.open_uploads["u"] = Upload(id="u", collection_id="docs", offset=len(DATA) + 1)
    result = run("upload", str(file), "--resume", "u")
    assert result.exit_code == 1
    assert "WRONG_FILE" in result.stderr


def test_upload_whose_job_fails_tells_why(run: Any, rag: FakeRag, file: Path) -> None:
    rag.job_failures["uploaded"] = JobError(reason="DOCUMENT_ENCRYPTED", message="the PDF needs a password")
    result = run("upload", str(file), "-c", "docs")
    assert result.exit_code == 1
    assert "DOCUMENT_ENCRYPTED" in result.stderr


def test_uploads_get_shows_how_far_an_upload_has_come(run: Any, json_of: Any, rag: FakeRag) -> None:
    rag.open_uploads["u"] = Upload(id="u", collection_id="docs", offset=2048)
    shown = run("uploads", "get", "u")
    assert "2048 bytes (2.0 KiB)" in shown.stdout
    assert json_of(run("uploads", "get", "u", "--json"))["upload"]["offset"] == "2048"


def test_uploads_cancel_gives_one_up_or_says_that_it_had_ended(run: Any, rag: FakeRag) -> None:
    rag.open_uploads["u"] = Upload(id="u", collection_id="docs", offset=2048)
    assert "given up" in run("uploads", "cancel", "u").stderr
    assert rag.calls["CancelUpload"][0].request_id
    rag.open_uploads["u"].job.id = "job-7"
    ended = run("uploads", "cancel", "u")
    assert "it had ended before" in ended.stderr
    assert "job-7" in ended.stdout
