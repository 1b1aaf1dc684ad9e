"""F1 for jobs of many documents, on RabbitMQ and PostgreSQL: workers die while they look for items."""

from __future__ import annotations

import asyncio
import io
import signal
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from tests.crawled_site import html, serving
from tests.faults.distributed import CHUNKING, PATIENCE_S, WORKER, Site, site_in
from tests.rag_client import RagClient

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

COUNT = 6
CRAWLING = {
    "fetch": {"allow_private_addresses": True},
    "crawl": {"requests_per_second": 1000.0, "concurrency": 1},
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with site_in(tmp_path) as site:
        yield site


async def killed(site: Site, failpoint: str) -> None:
    """Run a worker in a process of its own until its failpoint kills it."""
    process = site.process(WORKER, failpoint=failpoint, **CRAWLING)
    assert await asyncio.to_thread(process.wait, PATIENCE_S) == -signal.SIGKILL, process.log


async def assert_each_once(site: Site, client: RagClient, job: pb.Job) -> None:
    assert job.state == pb.JOB_STATE_SUCCEEDED, job
    assert (job.progress.found_item_count, job.progress.done_item_count) == (COUNT, COUNT)
    below = await client.ingest.ListJobs(pb.ListJobsRequest(parent_job_id=job.id))
    assert len({each.document_id for each in below.jobs}) == len(below.jobs) == COUNT
    listed = await client.documents.ListDocuments(
        document_pb.ListDocumentsRequest(collection_id=site.collection)
    )
    assert [each.revision for each in listed.documents] == [1] * COUNT
    await site.assert_stores_agree()


async def test_worker_killed_while_it_unpacks_loses_and_doubles_no_file(site: Site) -> None:
    _, client = await site.server()
    await client.create_collection(site.collection, chunking=CHUNKING)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(COUNT):
            archive.writestr(f"{number}.txt", f"File {number} speaks of {number * 7} herons.")
    job = await client.submit(site.collection, data=buffer.getvalue(), document_id="box.zip")
    await killed(site, "item.before:3")
    await killed(site, "item.after:2")
    await site.worker(ingest={"concurrency": 4})
    await assert_each_once(site, client, await client.end_of(job.id, timeout_s=PATIENCE_S))


async def test_crawls_of_two_servers_take_turns_through_the_death_of_a_worker(site: Site) -> None:
    _, client = await site.server(**CRAWLING)
    _, other = await site.server(storage={"data_dir": str(site.folder / "other")}, **CRAWLING)
    await client.create_collection(site.collection, chunking=CHUNKING)
    pages = {f"/{number}": html(f"/{number + 1}", text=f"Page {number}.") for number in range(COUNT)}
    pages[f"/{COUNT - 1}"] = html(text="The last page.")
    async with serving(pages) as web:
        request = pb.CrawlSiteRequest(
            collection_id=site.collection,
            start_urls=[web.url("/0")],
            max_depth=20,
            ignore_sitemaps=True,
        )
        first = await client.ingest.CrawlSite(request)
        second = await other.ingest.CrawlSite(request)
        assert (first.is_queued, second.is_queued) == (False, True)
        await killed(site, "item.after:3")
        waiting = (await other.ingest.GetJob(pb.GetJobRequest(job_id=second.job.id))).job
        assert waiting.is_waiting_for_crawl
        await site.worker(
            storage={"data_dir": str(site.folder / "data")}, ingest={"concurrency": 4}, **CRAWLING
        )
        ended = await other.end_of(first.job.id, timeout_s=PATIENCE_S)
        await assert_each_once(site, client, ended)
        again = await client.end_of(second.job.id, timeout_s=PATIENCE_S)
    assert again.start_time.ToDatetime() >= ended.end_time.ToDatetime()
    assert (again.state, again.progress.unchanged_item_count) == (pb.JOB_STATE_SUCCEEDED, COUNT)
