"""CrawlSite over gRPC, against a site on loopback: pages become documents, and what is not one says why."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from typing import Any

import grpc
import pytest

from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from rag.v1 import metadata_pb2
from tests.crawled_site import Answer, Site, html, serving
from tests.rag_client import RagClient, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")


def small_site() -> dict[str, Any]:
    return {
        "/": html("/herons", "/otters", "/gone", "mailto:a@b.c", text="The front page speaks of animals."),
        "/herons": html("/", text="Herons stand in shallow water and wait for fish."),
        "/otters": html("/private/x", text="Otters swim in the river and sleep on their backs."),
        "/private/x": html(text="Secret."),
        "/robots.txt": Answer(b"User-agent: *\nDisallow: /private/\n", media_type="text/plain"),
    }


async def crawl(client: RagClient, collection: str, *urls: str, **fields: Any) -> pb.Job:
    """Crawl to the end."""
    return await client.end_of((await begun(client, collection, *urls, **fields)).job.id)


async def begun(client: RagClient, collection: str, *urls: str, **fields: Any) -> pb.CrawlSiteResponse:
    request = pb.CrawlSiteRequest(collection_id=collection, start_urls=urls, **fields)
    return await client.ingest.CrawlSite(request)


async def documents(client: RagClient, collection: str) -> dict[str, document_pb.Document]:
    response = await client.documents.ListDocuments(
        document_pb.ListDocumentsRequest(collection_id=collection, page_size=1000)
    )
    return {each.id: each for each in response.documents}


def paths(found: dict[str, Any], site: Site) -> set[str]:
    return {name.removeprefix(site.base) for name in found}


async def test_crawl_makes_a_document_of_each_page(client: RagClient, collection: str) -> None:
    async with serving(small_site()) as site:
        year = {"year": metadata_pb2.MetadataValue(integer_value=2026)}
        job = await crawl(client, collection, site.url("/"), metadata=year)
    assert (job.state, job.kind, job.document_id) == (
        pb.JOB_STATE_PARTIALLY_SUCCEEDED,
        pb.JOB_KIND_CRAWL,
        "",
    )
    found = await documents(client, collection)
    assert paths(found, site) == {"/", "/herons", "/otters"}
    assert found[site.url("/herons")].source_uri == site.url("/herons")
    assert found[site.url("/herons")].metadata["year"].integer_value == 2026
    # the page that is missing failed, the one that robots.txt forbids was left out
    assert {each.item: each.reason for each in job.item_errors} == {site.url("/gone"): "URI_FETCH_FAILED"}
    progress = job.progress
    assert (progress.found_item_count, progress.done_item_count) == (5, 3)
    assert (progress.failed_item_count, progress.skipped_item_count) == (1, 1)
    answer = await client.search(collection, "which animal sleeps on its back in the river")
    assert answer.results[0].chunk.document_id == site.url("/otters")


async def test_crawl_keeps_within_pages_depth_and_patterns(client: RagClient, collection: str) -> None:
    pages = {f"/{number}": html(f"/{number + 1}", text=f"Page number {number}.") for number in range(9)}
    async with serving(pages) as site:
        await crawl(client, collection, site.url("/0"), max_depth=2, ignore_sitemaps=True)
        assert paths(await documents(client, collection), site) == {"/0", "/1", "/2"}
        await crawl(client, collection, site.url("/5"), max_pages=2)
        assert {"/5", "/6"} <= paths(await documents(client, collection), site)
        assert "/7" not in paths(await documents(client, collection), site)
        await crawl(client, collection, site.url("/7"), exclude=["/8"])
        assert "/8" not in paths(await documents(client, collection), site)


async def test_crawl_takes_linked_documents_only_where_it_is_asked_to(
    client: RagClient, collection: str
) -> None:
    pages = {
        "/": html("/data.csv", text="A page with a table."),
        "/data.csv": Answer(b"name,price\nheron,5\n", media_type="text/csv"),
    }
    async with serving(pages) as site:
        await crawl(client, collection, site.url("/"))
        assert paths(await documents(client, collection), site) == {"/"}
        await crawl(client, collection, site.url("/"), include_documents=True)
        assert paths(await documents(client, collection), site) == {"/", "/data.csv"}


async def test_crawl_again_asks_conditionally_and_ingests_what_changed(
    client: RagClient, collection: str
) -> None:
    tagged = html(text="A page with a tag, about geese.")
    pages: dict[str, Any] = {
        "/": html("/same", "/tagged", "/changed", text="Start."),
        "/same": html(text="A page without a tag, about ducks."),
        "/tagged": Answer(tagged.body, headers={"etag": '"1"'}),
        "/changed": html(text="Before."),
    }
    async with serving(pages) as site:
        await crawl(client, collection, site.url("/"))
        site.requests.clear()
        site.pages["/changed"] = html(text="After, with swans.")
        job = await crawl(client, collection, site.url("/"))
        asked = {each.path: each.headers for each in site.requests}
        assert asked["/tagged"]["if-none-match"] == '"1"'
        found = await documents(client, collection)
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert (job.progress.done_item_count, job.progress.unchanged_item_count) == (4, 3)
    assert {name.removeprefix(site.base): each.revision for name, each in found.items()} == {
        "/": 1,
        "/same": 1,
        "/tagged": 1,
        "/changed": 2,
    }


async def test_crawl_again_with_other_metadata_or_after_a_delete_takes_the_page_anew(
    client: RagClient, collection: str
) -> None:
    page = Answer(html(text="About geese.").body, headers={"etag": '"1"'})
    async with serving({"/": page}) as site:
        await crawl(client, collection, site.url("/"))
        labelled = {"label": metadata_pb2.MetadataValue(string_value="x")}
        job = await crawl(client, collection, site.url("/"), metadata=labelled)
        assert job.progress.unchanged_item_count == 0
        found = await documents(client, collection)
        assert found[site.url("/")].metadata["label"].string_value == "x"
        await client.documents.DeleteDocument(
            document_pb.DeleteDocumentRequest(collection_id=collection, document_id=site.url("/"))
        )
        job = await crawl(client, collection, site.url("/"), metadata=labelled)
        assert job.progress.unchanged_item_count == 0
        assert site.url("/") in await documents(client, collection)


@pytest.mark.parametrize("is_asked", [False, True])
async def test_pages_that_are_gone_are_deleted_only_where_it_is_asked_for(
    client: RagClient, collection: str, is_asked: bool
) -> None:
    async with serving({"/": html("/old", text="Start."), "/old": html(text="Old.")}) as site:
        await crawl(client, collection, site.url("/"))
        del site.pages["/old"]
        job = await crawl(client, collection, site.url("/"), delete_gone=is_asked)
        left = paths(await documents(client, collection), site)
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert (job.progress.gone_item_count, job.progress.skipped_item_count) == (1, 1)
    assert left == ({"/"} if is_asked else {"/", "/old"})


async def test_second_crawl_of_a_collection_waits_for_the_first(client: RagClient, collection: str) -> None:
    async with serving(small_site()) as site:
        site.delay_s = 0.5
        first, second, third = [await begun(client, collection, site.url("/herons")) for _ in range(3)]
        assert [each.is_queued for each in (first, second, third)] == [False, True, True]
        assert [each.job.is_waiting_for_crawl for each in (first, second)] == [False, True]
        cancelled = await client.ingest.CancelJob(pb.CancelJobRequest(job_id=second.job.id))
        assert cancelled.job.state == pb.JOB_STATE_CANCELLED
        assert (await client.ingest.GetJob(pb.GetJobRequest(job_id=third.job.id))).job.is_waiting_for_crawl
        ended_first, ended_third = [await client.end_of(each.job.id) for each in (first, third)]
    assert not ended_third.is_waiting_for_crawl
    assert ended_third.start_time.ToDatetime() >= ended_first.end_time.ToDatetime()
    assert ended_third.progress.done_item_count > 0


async def test_crawls_of_two_collections_run_at_once(client: RagClient, collection: str) -> None:
    other = f"test-{uuid.uuid4().hex[:12]}"
    await client.create_collection(other)
    async with serving(small_site()) as site:
        both = [await begun(client, name, site.url("/")) for name in (collection, other)]
        assert not any(each.is_queued for each in both)
        for each in both:
            assert (await client.end_of(each.job.id)).progress.done_item_count == 3


async def test_cancelled_crawl_cancels_the_jobs_of_its_pages(client: RagClient, collection: str) -> None:
    def answer(path: str) -> Answer:
        number = int(path.rpartition("/")[2] or 0) if path[1:].isdigit() else 0
        return html(*(f"/{number * 3 + each}" for each in range(1, 4)), text=f"Page {path} of many.")

    async with serving() as site:
        site.fallback = answer
        site.delay_s = 0.05
        job = (await begun(client, collection, site.url("/1"), max_pages=500, ignore_sitemaps=True)).job
        async for response in client.ingest.WatchJob(pb.WatchJobRequest(job_id=job.id), timeout=60):
            if response.job.progress.found_item_count >= 3:
                break
        await client.ingest.CancelJob(pb.CancelJobRequest(job_id=job.id))
        ended = await client.end_of(job.id)
        assert ended.state == pb.JOB_STATE_CANCELLED
        listed = await client.ingest.ListJobs(pb.ListJobsRequest(parent_job_id=job.id, page_size=1000))
        for child in listed.jobs:
            await client.end_of(child.id)
        asked = len(site.requests)
        await asyncio.sleep(0.3)
        assert len(site.requests) == asked
    assert len(listed.jobs) < 500


async def test_request_id_gives_the_same_crawl_again(client: RagClient, collection: str) -> None:
    async with serving(small_site()) as site:
        once = {"request_id": str(uuid.uuid4())}
        first, again = [await begun(client, collection, site.url("/"), **once) for _ in range(2)]
        assert first.job.id == again.job.id
        await client.end_of(first.job.id)


async def test_crawl_that_fails_can_be_retried(client: RagClient, collection: str) -> None:
    async with serving() as site:
        job = await crawl(client, collection, site.url("/"))
        assert (job.state, job.error.reason) == (pb.JOB_STATE_FAILED, "NO_ITEM_SUCCEEDED")
        assert [each.reason for each in job.item_errors] == ["URI_FETCH_FAILED"]
        site.pages["/"] = html(text="Back again.")
        await client.ingest.RetryJob(pb.RetryJobRequest(job_id=job.id))
        ended = await client.end_of(job.id)
    assert ended.state == pb.JOB_STATE_SUCCEEDED
    assert not ended.item_errors
    assert ended.progress.done_item_count == 1


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"start_urls": []}, "start_urls", "INVALID_REQUEST"),
        ({"start_urls": ["http://a.example/"] * 101}, "start_urls", "INVALID_REQUEST"),
        (
            {"start_urls": ["http://a.example/", "file:///etc/passwd"]},
            "start_urls[1]",
            "UNSUPPORTED_URI_SCHEME",
        ),
        ({"start_urls": ["http://user:pw@a.example/"]}, "start_urls[0]", "URI_INVALID"),
        ({"include": ["/a", "docs/*"]}, "include[1]", "INVALID_REQUEST"),
        ({"exclude": ["(a+)+$"]}, "exclude[0]", "INVALID_REQUEST"),
        ({"hosts": ["a.example/x"]}, "hosts[0]", "INVALID_REQUEST"),
        ({"max_pages": 10_001}, "max_pages", "INVALID_REQUEST"),
        ({"metadata": {"a b": metadata_pb2.MetadataValue(integer_value=1)}}, "metadata", "INVALID_REQUEST"),
    ],
)
async def test_crawl_of_bad_input_names_the_field(
    client: RagClient, collection: str, fields: dict[str, Any], field: str, reason: str
) -> None:
    start = {"start_urls": ["http://a.example/"], **fields}
    request = pb.CrawlSiteRequest(collection_id=collection, **start)
    refused = await failure(client.ingest.CrawlSite(request))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    (named,) = refused.violations
    assert named.startswith(field)


async def test_crawl_into_a_collection_that_is_not_there_is_not_found(client: RagClient) -> None:
    request = pb.CrawlSiteRequest(collection_id="nowhere", start_urls=["http://a.example/"])
    assert (await failure(client.ingest.CrawlSite(request))).reason == "COLLECTION_NOT_FOUND"


async def test_page_is_stored_as_it_was_sent(client: RagClient, collection: str) -> None:
    page = html(text="Bytes as they are.")
    async with serving({"/": page}) as site:
        await crawl(client, collection, site.url("/"))
        (document,) = (await documents(client, collection)).values()
    assert document.sha256 == hashlib.sha256(page.body).hexdigest()


async def test_page_that_moved_is_replaced_by_the_one_it_leads_to(client: RagClient, collection: str) -> None:
    async with serving({"/": html("/old", text="Start."), "/old": html(text="About owls.")}) as site:
        await crawl(client, collection, site.url("/"))
        site.pages["/old"] = Answer(status=301, headers={"location": "/new"})
        site.pages["/new"] = html(text="About owls.")
        job = await crawl(client, collection, site.url("/"), delete_gone=True)
        left = paths(await documents(client, collection), site)
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert left == {"/", "/new"}


async def test_page_whose_canonical_link_names_where_it_moved_keeps_its_document(
    client: RagClient, collection: str
) -> None:
    head = '<link rel="canonical" href="/new">'
    pages = {"/": html("/old", text="Start."), "/old": html(head=head, text="About owls.")}
    async with serving(pages) as site:
        await crawl(client, collection, site.url("/"))
        site.pages["/old"] = Answer(status=301, headers={"location": "/new"})
        site.pages["/new"] = html(text="About owls, at last.")
        job = await crawl(client, collection, site.url("/"), delete_gone=True)
        left = paths(await documents(client, collection), site)
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert left == {"/", "/new"}
