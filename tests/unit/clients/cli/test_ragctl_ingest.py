from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from rich.console import Console

from rag.v1.collection_service_pb2 import Collection
from rag.v1.ingest_service_pb2 import ItemError, Job, JobError, JobState
from rag.v1.metadata_pb2 import MetadataType
from ragctl.ingest_progress import Bars
from ragctl.ingestion import Outcome
from ragctl.sources import FileSource, UrlSource
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal


@pytest.fixture(autouse=True)
def collection(rag: FakeRag) -> None:
    rag.collections["docs"] = Collection(id="docs")


def _folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text("# A")
    (tmp_path / "sub" / "b.txt").write_text("b")
    (tmp_path / "c.docx").write_text("c")
    return tmp_path


def test_ingest_of_a_folder_uploads_each_file_and_waits(
    run: Any, json_of: Any, rag: FakeRag, tmp_path: Path
) -> None:
    result = json_of(run("ingest", str(_folder(tmp_path)), "-c", "docs", "--json"))
    assert rag.uploads == {"a.md": b"# A", "sub/b.txt": b"b"}
    assert [each["state"] for each in result["documents"]] == ["SUCCEEDED", "SUCCEEDED"]
    assert [each["document_id"] for each in result["documents"]] == ["a.md", "sub/b.txt"]
    assert (result["succeeded_count"], result["failed_count"], result["skipped_count"]) == (2, 0, 1)
    start = rag.calls["UploadDocument"][0]
    assert start.document.source_uri == start.document.document_id
    assert start.document.file_name == start.document.document_id.rpartition("/")[2]


def test_ingest_of_a_large_file_streams_pieces_with_a_digest(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    data = bytes(range(250)) * 10_000
    (tmp_path / "big.pdf").write_bytes(data)
    assert run("ingest", str(tmp_path / "big.pdf"), "-c", "docs").exit_code == 0
    assert rag.uploads["big.pdf"] == data
    assert rag.calls["pieces"] == [[1_048_576, 1_048_576, 402_848]]
    assert rag.calls["UploadDocument"][0].sha256 == hashlib.sha256(data).hexdigest()


def test_ingest_with_options_sends_metadata_chunking_title_and_id(
    run: Any, rag: FakeRag, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("a")
    arguments = ["--meta", "year:int=2026", "--meta", "kind=x", "--chunking", "tokens:64", "--title", "T"]
    result = run(
        "ingest",
        str(tmp_path / "a.md"),
        "-c",
        "docs",
        *arguments,
        "--id",
        "name",
        "--media-type",
        "text/plain",
    )
    assert result.exit_code == 0
    start = rag.calls["UploadDocument"][0]
    assert start.document.document_id == "name"
    assert start.document.title == "T"
    assert start.document.media_type == "text/plain"
    assert start.document.metadata["year"].integer_value == 2026
    assert start.document.metadata["kind"].string_value == "x"
    assert start.chunking.tokens.max_tokens == 64


def test_ingest_of_an_address_lets_the_server_fetch_it(run: Any, rag: FakeRag) -> None:
    assert run("ingest", "https://example.org/page.html", "-c", "docs").exit_code == 0
    request = rag.calls["IngestDocument"][0]
    assert request.uri == "https://example.org/page.html"
    assert request.document.document_id == ""


def test_ingest_of_standard_input_takes_text_under_the_given_name(run: Any, rag: FakeRag) -> None:
    assert run("ingest", "-", "--id", "note", "-c", "docs", input="hola añó").exit_code == 0
    request = rag.calls["IngestDocument"][0]
    assert (request.text, request.document.document_id) == ("hola añó", "note")


def test_ingest_without_wait_does_not_watch(run: Any, rag: FakeRag, json_of: Any, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a")
    result = json_of(run("ingest", str(tmp_path), "-c", "docs", "--no-wait", "--json"))
    assert result["documents"][0]["state"] == "QUEUED"
    assert result["documents"][0]["job_id"] == "job-0"
    assert rag.calls["WatchJob"] == []


def test_ingest_with_failed_documents_tells_why_and_gives_exit_code_3(
    run: Any, rag: FakeRag, tmp_path: Path
) -> None:
    rag.job_failures["a.md"] = JobError(reason="DOCUMENT_ENCRYPTED", message="the PDF needs a password")
    result = run("ingest", str(_folder(tmp_path)), "-c", "docs")
    assert result.exit_code == 3
    assert "DOCUMENT_ENCRYPTED" in result.stdout
    assert "the PDF needs a password" in result.stdout
    assert "1 of 2 documents searchable, 1 failed" in result.stdout
    assert "1 x unsupported ending .docx (--force takes them)" in result.stdout


def test_ingest_refused_by_the_server_is_one_failed_document(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    rag.refusals["UploadDocument"].append(
        refusal(grpc.StatusCode.INVALID_ARGUMENT, "no such format", reason="UNSUPPORTED_MEDIA_TYPE")
    )
    result = run("ingest", str(_folder(tmp_path)), "-c", "docs", "-j", "1", "--json")
    assert result.exit_code == 3
    first, second = json.loads(result.stdout)["documents"]
    assert (first["reason"], first["job_id"], first["state"]) == ("UNSUPPORTED_MEDIA_TYPE", "", "FAILED")
    assert second["succeeded"]


@pytest.mark.parametrize(
    "refuse",
    [
        refusal(grpc.StatusCode.UNAVAILABLE, "going away"),
        refusal(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", reason="TOO_MANY_JOBS", retry_after_s=0.001
        ),
    ],
)
def test_ingest_tries_a_passing_failure_again_with_the_same_request_id(
    run: Any, rag: FakeRag, tmp_path: Path, refuse: Any
) -> None:
    (tmp_path / "a.md").write_text("a")
    rag.refusals["UploadDocument"] += [refuse, refuse]
    assert run("ingest", str(tmp_path), "-c", "docs").exit_code == 0
    assert len({each.request_id for each in rag.calls["UploadDocument"]}) == 1
    assert len(rag.calls["UploadDocument"]) == 3


def test_ingest_gives_up_after_many_failures_and_does_not_try_the_rest(
    run: Any, rag: FakeRag, tmp_path: Path
) -> None:
    rag.refusals["UploadDocument"] += [refusal(grpc.StatusCode.UNAVAILABLE, "gone")] * 6
    result = run("ingest", str(_folder(tmp_path)), "-c", "docs", "-j", "1", "--json")
    assert result.exit_code == 4
    reasons = [each["reason"] for each in json.loads(result.stdout)["documents"]]
    assert reasons == ["SERVER_UNREACHABLE", "SERVER_UNREACHABLE"]
    assert len(rag.calls["UploadDocument"]) == 6


def test_ingest_takes_up_a_broken_watch_at_its_cursor(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a")
    rag.watch_breaks = 2
    assert run("ingest", str(tmp_path), "-c", "docs").exit_code == 0
    assert [each.cursor for each in rag.calls["WatchJob"]] == ["", "1", "2"]


def test_ingest_of_a_file_that_cannot_be_read_is_one_failed_document(
    run: Any, rag: FakeRag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path)
    opened = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "a.md":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    result = run("ingest", str(folder), "-c", "docs", "--json")
    assert result.exit_code == 3
    assert [each["reason"] for each in json.loads(result.stdout)["documents"]] == ["FILE_UNREADABLE", ""]
    assert list(rag.uploads) == ["sub/b.txt"]


def test_ingest_into_a_missing_collection_stops_before_any_upload(
    run: Any, rag: FakeRag, tmp_path: Path
) -> None:
    result = run("ingest", str(_folder(tmp_path)), "-c", "other")
    assert result.exit_code == 1
    assert "COLLECTION_NOT_FOUND" in result.stderr
    assert rag.uploads == {}


def test_ingest_with_create_makes_the_collection(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    assert run("ingest", str(_folder(tmp_path)), "-c", "new", "--create", "--language", "es").exit_code == 0
    assert rag.collections["new"].language == "es"


def test_ingest_with_create_accepts_that_another_was_faster(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    rag.refusals["CreateCollection"].append(
        refusal(grpc.StatusCode.ALREADY_EXISTS, "taken", reason="COLLECTION_EXISTS")
    )
    assert run("ingest", str(_folder(tmp_path)), "-c", "new", "--create").exit_code == 0


def test_ingest_with_a_job_that_was_cancelled_fails(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a")
    rag.changes = lambda job: [Job(id=job.id, state=JobState.JOB_STATE_CANCELLED, sequence=1)]  # type: ignore[method-assign]
    result = run("ingest", str(tmp_path), "-c", "docs")
    assert result.exit_code == 3
    assert "CANCELLED" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["gone.txt"], "there is no file or folder gone.txt"),
        (["-"], "--id NAME"),
        (["-", "--id", "n"], "standard input is empty"),
        (["https://a.org/1", "https://a.org/2", "--id", "n"], "--id needs a single source"),
        (["https://a.org/1", "https://a.org/2", "--title", "t"], "--title needs a single source"),
        (["https://a.org/1", "--id", "-bad"], "does not match"),
        (["https://a.org/1", "--meta", "x"], "key=value"),
        (["https://a.org/1", "--chunking", "lines"], "tokens"),
    ],
)
def test_ingest_with_wrong_arguments_is_a_usage_error(
    run: Any, rag: FakeRag, arguments: list[str], text: str
) -> None:
    result = run("ingest", *arguments, "-c", "docs")
    assert result.exit_code == 2
    assert text in result.stderr
    assert rag.calls["GetCollection"] == []


def test_ingest_of_bytes_on_standard_input_is_a_usage_error(run: Any) -> None:
    result = run("ingest", "-", "--id", "n", "-c", "docs", input=b"\xff\xfe\x00")
    assert result.exit_code == 2
    assert "UTF-8" in result.stderr


def test_ingest_of_an_empty_folder_succeeds_with_nothing(run: Any, json_of: Any, tmp_path: Path) -> None:
    assert json_of(run("ingest", str(tmp_path), "-c", "docs", "--json"))["documents"] == []


def test_ingest_keeps_no_more_than_jobs_in_flight(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.md").write_text("x")
    lock, now, most = threading.Lock(), [0], [0]
    upload = rag.UploadDocument

    def counted(requests: Any, context: Any) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            return upload(requests, context)
        finally:
            with lock:
                now[0] -= 1

    rag.UploadDocument = counted  # type: ignore[method-assign]
    assert run("ingest", str(tmp_path), "-c", "docs", "-j", "2").exit_code == 0
    assert len(rag.uploads) == 6
    assert most[0] <= 2


def test_bars_follow_sources_to_their_end(tmp_path: Path) -> None:
    console = Console(force_terminal=True, width=120, file=(tmp_path / "screen").open("w+"))
    file = FileSource("x" * 60 + "[bold].md", "x.md", tmp_path, 10)
    url = UrlSource("https://a.org", "")
    with Bars(console, 2) as bars:
        for source in (file, url):
            bars.began(source)
        bars.sent(file, 5)
        job = Job(state=JobState.JOB_STATE_EMBEDDING)
        job.progress.chunk_count, job.progress.embedded_chunk_count = 4, 2
        bars.changed(file, job)
        bars.changed(url, Job(state=JobState.JOB_STATE_FETCHING))
        bars.ended(Outcome(file, Job(state=JobState.JOB_STATE_SUCCEEDED)))
        bars.ended(Outcome(url, Job(state=JobState.JOB_STATE_SUCCEEDED)))
    screen = console.file
    screen.seek(0)
    assert "2/2" in screen.read()
    screen.close()


def test_ingest_with_records_sends_the_mapping_and_the_webhook(
    run: Any, rag: FakeRag, tmp_path: Path
) -> None:
    (tmp_path / "goods.csv").write_text("sku,name,price\nA,Heron,1\n")
    arguments = ["--template", "{name}", "--field", "price:float", "--field", "brand=Brand: name:str?"]
    arguments += ["--key", "sku", "--sheet", "S", "--webhook", "https://a.example/h", "--webhook-secret", "s"]
    assert run("ingest", str(tmp_path / "goods.csv"), "-c", "docs", *arguments).exit_code == 0
    start = rag.calls["UploadDocument"][0]
    assert (start.records.template, start.records.key_column, start.records.sheet) == ("{name}", "sku", "S")
    assert [(each.column, each.field, each.type, each.is_optional) for each in start.records.fields] == [
        ("price", "", MetadataType.METADATA_TYPE_DOUBLE, False),
        ("Brand: name", "brand", MetadataType.METADATA_TYPE_STRING, True),
    ]
    assert (start.webhook.url, start.webhook.secret_name) == ("https://a.example/h", "s")


def test_ingest_without_those_options_sends_neither(run: Any, rag: FakeRag) -> None:
    assert run("ingest", "https://example.org/goods.csv", "-c", "docs").exit_code == 0
    request = rag.calls["IngestDocument"][0]
    assert not request.HasField("records")
    assert not request.HasField("webhook")
    assert run("ingest", "https://example.org/goods.csv", "-c", "docs", "--records").exit_code == 0
    assert rag.calls["IngestDocument"][1].HasField("records")


@pytest.mark.parametrize(
    "arguments",
    [["--field", "price"], ["--field", "price:money"], ["--webhook", "https://a"], ["--webhook-secret", "s"]],
)
def test_ingest_with_half_an_option_is_wrong_usage(run: Any, rag: FakeRag, arguments: list[str]) -> None:
    result = run("ingest", "https://example.org/goods.csv", "-c", "docs", *arguments)
    assert result.exit_code == 2
    assert "IngestDocument" not in rag.calls


def test_ingest_that_leaves_rows_out_says_which_and_exits_with_3(run: Any, rag: FakeRag) -> None:
    error = ItemError(item="row 5", reason="RECORD_VALUE_MISSING", message="row 5: the column has no value")
    rag.left_out = [error]
    result = run("ingest", "https://example.org/goods.csv", "-c", "docs", "--records")
    assert result.exit_code == 3
    assert "1 left out" in result.stdout
    assert "RECORD_VALUE_MISSING: row 5: the column has no value" in result.stdout
    told = json.loads(run("ingest", "https://example.org/goods.csv", "-c", "docs", "--json").stdout)
    (document,) = told["documents"]
    assert (document["state"], document["failed_item_count"]) == ("PARTIALLY_SUCCEEDED", 1)
    assert document["item_errors"][0]["item"] == "row 5"
