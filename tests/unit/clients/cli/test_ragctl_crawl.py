from __future__ import annotations

from typing import Any

import grpc
import pytest

from rag.v1.ingest_service_pb2 import ItemError, Job, JobError, JobKind, JobProgress, JobState
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal

URL = "https://example.org/docs/"


def test_crawl_sends_what_was_asked_and_waits(run: Any, rag: FakeRag) -> None:
    result = run(
        *(
            "crawl",
            URL,
            "https://example.org/blog/",
            "-c",
            "docs",
            "--include",
            "/docs/*",
            "--exclude",
            "*?x",
        ),
        *("--max-pages", "7", "--max-depth", "0", "--documents", "--ignore-sitemaps", "--delete-gone"),
        *("--host", "example.org", "--meta", "year:int=2026", "--chunking", "tokens:64"),
    )
    assert result.exit_code == 0, result.output
    (request,) = rag.calls["CrawlSite"]
    assert (list(request.start_urls), list(request.hosts)) == (
        [URL, "https://example.org/blog/"],
        ["example.org"],
    )
    assert (list(request.include), list(request.exclude)) == (["/docs/*"], ["*?x"])
    assert (request.max_pages, request.max_depth, request.HasField("max_depth")) == (7, 0, True)
    assert request.include_documents
    assert request.ignore_sitemaps
    assert request.delete_gone
    assert request.metadata["year"].integer_value == 2026
    assert request.chunking.tokens.max_tokens == 64
    assert request.request_id
    assert rag.calls["WatchJob"]
    assert "3/3" in result.stdout


def test_crawl_without_options_leaves_the_defaults_to_the_server(run: Any, rag: FakeRag) -> None:
    run("crawl", URL, "-c", "docs", "--no-wait")
    (request,) = rag.calls["CrawlSite"]
    assert not (request.HasField("max_pages"))
    assert not (request.HasField("max_depth"))
    assert not rag.calls["WatchJob"]


def test_crawl_with_failed_pages_names_them_and_ends_with_3(run: Any, rag: FakeRag) -> None:
    rag.crawl_errors = [ItemError(item=f"{URL}x", reason="URI_FETCH_FAILED", message="status 500")]
    result = run("crawl", URL, "-c", "docs")
    assert result.exit_code == 3
    for text in (f"{URL}x", "URI_FETCH_FAILED", "status 500", "2/3, 1 failed"):
        assert text in result.stdout


def test_crawl_that_waits_for_another_says_so(run: Any, rag: FakeRag) -> None:
    rag.is_crawl_queued = True
    result = run("crawl", URL, "-c", "docs", "--no-wait")
    assert "another crawl of the collection is in progress" in result.stderr


def test_crawl_that_fails_ends_with_1(run: Any, rag: FakeRag) -> None:
    rag.job_failures[""] = JobError(reason="NO_ITEM_SUCCEEDED", message="nothing became a document")
    result = run("crawl", URL, "-c", "docs")
    assert result.exit_code == 1
    assert "NO_ITEM_SUCCEEDED" in result.stdout


def test_crawl_as_json_is_the_job_at_its_end(run: Any, json_of: Any) -> None:
    shown = json_of(run("crawl", URL, "-c", "docs", "--json"))
    assert (shown["state"], shown["progress"]["done_item_count"]) == ("JOB_STATE_SUCCEEDED", 3)


@pytest.mark.parametrize("wrong", [("--meta", "novalue"), ("--chunking", "words")])
def test_crawl_with_wrong_options_sends_nothing(run: Any, rag: FakeRag, wrong: tuple[str, str]) -> None:
    assert run("crawl", URL, "-c", "docs", *wrong).exit_code == 2
    assert not rag.calls["CrawlSite"]


def test_crawl_that_the_server_refuses_shows_the_field(run: Any, rag: FakeRag) -> None:
    rag.refusals["CrawlSite"] = [
        refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "include[0]: a pattern starts with '/'",
            reason="INVALID_REQUEST",
            violations=(("include[0]", "a pattern starts with '/'"),),
        )
    ]
    result = run("crawl", URL, "-c", "docs", "--include", "docs")
    assert result.exit_code == 1
    assert "include[0]" in result.stderr


def test_jobs_show_items_of_archives_and_crawls(run: Any, rag: FakeRag) -> None:
    progress = JobProgress(
        found_item_count=9,
        done_item_count=5,
        failed_item_count=2,
        skipped_item_count=1,
        unchanged_item_count=3,
    )
    rag.jobs["j"] = Job(
        id="j",
        document_id="box.zip",
        kind=JobKind.JOB_KIND_ARCHIVE,
        state=JobState.JOB_STATE_PARTIALLY_SUCCEEDED,
        progress=progress,
        item_errors=[ItemError(item="a/b.txt", reason="DOCUMENT_EMPTY", message="nothing in it")],
    )
    assert "5/9, 3 unchanged, 2 failed, 1 left out" in run("jobs", "list", "--parent", "p").stdout
    assert rag.calls["ListJobs"][0].parent_job_id == "p"
    shown = run("jobs", "get", "j")
    for text in ("archive", "a/b.txt", "DOCUMENT_EMPTY"):
        assert text in shown.stdout
    assert "1 more failed" in shown.stderr
