from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from rag.v1.bm25_pb2 import Bm25
from rag.v1.chunk_pb2 import Chunk, PageRange
from rag.v1.chunking_pb2 import Chunking, TokenChunking
from rag.v1.collection_service_pb2 import Collection
from rag.v1.document_service_pb2 import Document
from rag.v1.ingest_service_pb2 import Job, JobError, JobState
from rag.v1.metadata_pb2 import MetadataValue
from ragctl.errors import CommandFailed
from ragctl.retry import Retry
from ragctl.watching import watch_job
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal


def _collections(rag: FakeRag, count: int) -> None:
    for number in range(count):
        rag.collections[f"c{number}"] = Collection(id=f"c{number}", language="es")


def test_collections_list_stops_at_the_limit_and_names_the_next_page(
    run: Any, json_of: Any, rag: FakeRag
) -> None:
    _collections(rag, 5)
    first = json_of(run("collections", "list", "-n", "2", "--json"))
    assert [each["id"] for each in first["collections"]] == ["c0", "c1"]
    rest = json_of(run("collections", "list", "--page-token", first["next_page_token"], "--json"))
    assert [each["id"] for each in rest["collections"]] == ["c2", "c3", "c4"]
    assert rest["next_page_token"] == ""


def test_collections_list_with_all_reads_every_page(run: Any, json_of: Any, rag: FakeRag) -> None:
    _collections(rag, 1500)
    assert len(json_of(run("collections", "list", "--all", "--json"))["collections"]) == 1500
    assert len(rag.calls["ListCollections"]) == 2


def test_collections_list_says_that_there_are_more(run: Any, rag: FakeRag) -> None:
    _collections(rag, 3)
    result = run("collections", "list", "-n", "2")
    assert "--page-token 2" in result.stderr
    assert "c2" not in result.stdout


def test_collections_list_without_any_is_an_empty_list(run: Any, json_of: Any) -> None:
    assert json_of(run("collections", "list", "--json")) == {"collections": [], "next_page_token": ""}


def test_collections_create_sends_what_was_given(run: Any, rag: FakeRag) -> None:
    options = ["--language", "es", "--display-name", "D", "--chunking", "tokens:64:0.1", "--label", "a=b"]
    result = run("collections", "create", "docs", *options, "--field", "price:float")
    assert result.exit_code == 0
    collection = rag.collections["docs"]
    assert (collection.language, collection.display_name, collection.labels["a"]) == ("es", "D", "b")
    assert collection.chunking == Chunking(tokens=TokenChunking(max_tokens=64, overlap_ratio=0.1))
    assert collection.metadata_fields[0].name == "price"
    assert rag.calls["CreateCollection"][0].request_id
    for text in ("docs", "tokens:64:0.1", "a=b", "price:float"):
        assert text in result.stdout


def test_collections_create_sends_and_shows_the_bm25_parameters(run: Any, rag: FakeRag) -> None:
    result = run("collections", "create", "docs", "--bm25-k1", "0.9", "--bm25-b", "0")
    assert rag.calls["CreateCollection"][0].collection.bm25 == Bm25(k1=0.9, b=0.0)
    assert "k1 0.9, b 0" in result.stdout


def test_collections_create_without_bm25_parameters_leaves_them_to_the_server(run: Any, rag: FakeRag) -> None:
    run("collections", "create", "docs")
    run("collections", "create", "other", "--bm25-b", "0.5")
    plain, with_b = (each.collection for each in rag.calls["CreateCollection"])
    assert not plain.HasField("bm25")
    assert with_b.bm25 == Bm25(b=0.5)


def test_collections_update_names_only_what_was_given(run: Any, rag: FakeRag) -> None:
    rag.collections["docs"] = Collection(id="docs", display_name="old", description="old")
    assert run("collections", "update", "docs", "--description", "").exit_code == 0
    assert list(rag.calls["UpdateCollection"][0].update_mask.paths) == ["description"]
    assert rag.collections["docs"].description == ""
    assert rag.collections["docs"].display_name == "old"


@pytest.mark.parametrize(
    "options", [[], ["--label", "x"], ["--field", "x"], ["--field", "x:color"], ["--chunking", "x"]]
)
def test_collections_update_with_wrong_options_is_a_usage_error(
    run: Any, rag: FakeRag, options: list[str]
) -> None:
    assert run("collections", "update", "docs", *options).exit_code == 2
    assert rag.calls["UpdateCollection"] == []


def test_collections_get_of_a_missing_one_fails(run: Any) -> None:
    result = run("collections", "get", "none")
    assert result.exit_code == 1
    assert "COLLECTION_NOT_FOUND" in result.stderr


def test_collections_delete_needs_yes_where_nobody_can_be_asked(run: Any, rag: FakeRag) -> None:
    _collections(rag, 1)
    assert run("collections", "delete", "c0").exit_code == 2
    assert "c0" in rag.collections
    assert run("collections", "delete", "c0", "--yes").exit_code == 0
    assert rag.collections == {}


def _document() -> Document:
    return Document(
        id="a.pdf",
        collection_id="docs",
        title="A \x1b]0;x\x07title",
        page_count=3,
        metadata={"year": MetadataValue(integer_value=2026)},
    )


def test_documents_get_and_list_show_the_document(run: Any, json_of: Any, rag: FakeRag) -> None:
    rag.documents = [_document()]
    shown = run("documents", "get", "a.pdf", "-c", "docs").stdout
    assert "metadata.year" in shown
    assert "2026" in shown
    listed = run("documents", "list", "-c", "docs").stdout
    assert "a.pdf" in listed
    assert "\x1b" not in listed
    assert json_of(run("documents", "list", "-c", "docs", "--json"))["documents"][0]["page_count"] == 3


def test_documents_delete_shows_the_revision(run: Any, json_of: Any) -> None:
    assert "revision 9" in run("documents", "delete", "a.pdf", "-c", "docs").stdout
    assert json_of(run("documents", "delete", "a", "-c", "d", "--json")) == {"collection_revision": "9"}


def test_documents_chunks_shows_the_text_word_for_word(run: Any, json_of: Any, rag: FakeRag) -> None:
    rag.chunks = [Chunk(ordinal=0, text="one [red]two", pages=PageRange(first=1, last=1), heading_path=["H"])]
    shown = run("documents", "chunks", "a", "-c", "docs").stdout
    assert "one [red]two" in shown
    assert "0 · p. 1 · H" in shown
    assert len(json_of(run("documents", "chunks", "a", "-c", "docs", "--json"))["chunks"]) == 1


def _job(rag: FakeRag, document_id: str = "a.md") -> None:
    rag.jobs["j1"] = Job(id="j1", document_id=document_id, state=JobState.JOB_STATE_QUEUED)


def test_jobs_list_filters_by_state_collection_and_document(run: Any, rag: FakeRag) -> None:
    _job(rag)
    result = run("jobs", "list", "--state", "failed", "--state", "queued", "-c", "docs", "--document", "a.md")
    request = rag.calls["ListJobs"][0]
    assert list(request.states) == [JobState.JOB_STATE_FAILED, JobState.JOB_STATE_QUEUED]
    assert (request.collection_id, request.document_id) == ("docs", "a.md")
    assert "QUEUED" in result.stdout
    assert run("jobs", "list", "--state", "dancing").exit_code == 2


def test_jobs_get_and_cancel_show_the_job(run: Any, json_of: Any, rag: FakeRag) -> None:
    _job(rag)
    assert "QUEUED" in run("jobs", "get", "j1").stdout
    assert json_of(run("jobs", "cancel", "j1", "--json"))["cancel_requested"] is True


def test_jobs_retry_shows_the_job_that_waits_again(run: Any, rag: FakeRag) -> None:
    _job(rag)
    rag.jobs["j1"].state = JobState.JOB_STATE_FAILED
    assert "QUEUED" in run("jobs", "retry", "j1").stdout
    assert rag.calls["RetryJob"][0].request_id


def test_jobs_watch_shows_each_change_to_the_end(run: Any, rag: FakeRag) -> None:
    _job(rag)
    result = run("jobs", "watch", "j1")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["QUEUED", "EMBEDDING", "SUCCEEDED"]
    assert "2/4 chunks" in result.stdout


def test_jobs_watch_with_json_is_a_change_a_line_even_over_breaks(run: Any, rag: FakeRag) -> None:
    _job(rag)
    rag.watch_breaks = 2
    lines = run("jobs", "watch", "j1", "--json").stdout.splitlines()
    assert [json.loads(line)["cursor"] for line in lines] == ["1", "2", "3"]


def test_jobs_watch_goes_on_after_a_cursor(run: Any, rag: FakeRag) -> None:
    _job(rag)
    assert run("jobs", "watch", "j1", "--cursor", "2").stdout.startswith("SUCCEEDED")


def test_jobs_watch_of_a_job_that_fails_gives_exit_code_1(run: Any, rag: FakeRag) -> None:
    _job(rag)
    rag.job_failures["a.md"] = JobError(reason="DOCUMENT_EMPTY", message="no text in it")
    result = run("jobs", "watch", "j1")
    assert result.exit_code == 1
    assert "DOCUMENT_EMPTY: no text in it" in result.stdout


def test_watch_is_taken_up_when_the_servers_own_deadline_ends_it(run: Any, rag: FakeRag) -> None:
    _job(rag)
    late = refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "late", reason="DEADLINE_EXCEEDED")
    rag.refusals["WatchJob"] += [late]
    assert run("jobs", "watch", "j1").exit_code == 0
    rag.refusals["WatchJob"] += [late]
    assert run("jobs", "watch", "j1", "--timeout", "60").exit_code == 5


def test_watch_gives_up_when_the_server_stays_away(run: Any, rag: FakeRag) -> None:
    _job(rag)
    rag.refusals["WatchJob"] += [refusal(grpc.StatusCode.UNAVAILABLE, "away")] * 6
    assert run("jobs", "watch", "j1").exit_code == 4
    assert len(rag.calls["WatchJob"]) == 6


def test_watch_that_ends_without_a_final_state_fails_after_some_tries(address: str, rag: FakeRag) -> None:
    _job(rag)
    rag.changes = lambda job: []  # type: ignore[method-assign]
    from rag.v1.ingest_service_pb2_grpc import IngestServiceStub

    with grpc.insecure_channel(address) as channel:
        stub = IngestServiceStub(channel)
        with pytest.raises(CommandFailed) as caught:
            list(watch_job(stub, "j1", retry=Retry(max_failures=2, first_wait_s=0.001)))
    assert caught.value.problem.reason == "WATCH_ENDED"
    assert len(rag.calls["WatchJob"]) == 2


def test_retry_waits_grow_up_to_a_bound() -> None:
    retry = Retry(first_wait_s=1.0, longest_wait_s=5.0)
    assert 0.5 <= retry.wait_s(1) <= 1.0
    assert 2.0 <= retry.wait_s(3) <= 4.0
    assert 2.5 <= retry.wait_s(30) <= 5.0
