"""F3 for jobs of many documents: SIGKILL while items are looked for; each becomes one document, once."""

from __future__ import annotations

import asyncio
import io
import signal
import zipfile
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from rag_server.testing.server_process import ServerStarter
from tests.crawled_site import html, serving
from tests.rag_client import RagClient

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

COLLECTION = "killed"
FILES = 9
SETTINGS = {
    "fetch__allow_private_addresses": True,
    "crawl__requests_per_second": 1000.0,
    "crawl__concurrency": 1,
}
DYING_SERVER = Path(__file__).with_name("dying_server.py")


def dying(step: str, *, call: int) -> list[str]:
    """Return the program of a server that kills itself when it comes to a step for the given time."""
    return [str(DYING_SERVER), step, str(call)]


async def only_job(client: RagClient, kind: pb.JobKind.ValueType) -> pb.Job:
    """Return the one job of the collection that nobody but a call has made, at its end."""
    listed = await client.ingest.ListJobs(pb.ListJobsRequest(collection_id=COLLECTION, page_size=1000))
    (job,) = [each for each in listed.jobs if not each.parent_job_id]
    ended = await client.end_of(job.id, timeout_s=120)
    assert ended.kind == kind
    return ended


async def assert_each_once(client: RagClient, job: pb.Job, count: int) -> None:
    """Check that each item became one document of one revision, by one job."""
    assert job.state == pb.JOB_STATE_SUCCEEDED, job
    assert (job.progress.found_item_count, job.progress.done_item_count) == (count, count)
    below = await client.ingest.ListJobs(pb.ListJobsRequest(parent_job_id=job.id, page_size=1000))
    assert len({each.document_id for each in below.jobs}) == len(below.jobs) == count
    assert {each.state for each in below.jobs} == {pb.JOB_STATE_SUCCEEDED}
    listed = await client.documents.ListDocuments(
        document_pb.ListDocumentsRequest(collection_id=COLLECTION, page_size=1000)
    )
    assert [each.revision for each in listed.documents] == [1] * count


async def test_kill_in_the_middle_of_an_archive_loses_and_doubles_nothing(
    start_server: ServerStarter,
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(FILES):
            archive.writestr(f"{number}.txt", f"File {number} speaks of {number * 7} herons.")
    process = start_server(program=dying("take-item", call=4), **SETTINGS)
    async with RagClient(process.address) as client:
        await client.create_collection(COLLECTION)
        with suppress(grpc.aio.AioRpcError):  # it may die before it has answered
            await client.submit(COLLECTION, data=buffer.getvalue(), document_id="box.zip")
        assert process.wait() == -signal.SIGKILL
    for step, call in (("take-item", 3), ("end-search", 1)):
        process = start_server(program=dying(step, call=call), **SETTINGS)
        assert process.wait() == -signal.SIGKILL, step

    process = start_server(**SETTINGS)
    async with RagClient(process.address) as client:
        await assert_each_once(client, await only_job(client, pb.JOB_KIND_ARCHIVE), FILES)
    assert process.stop() == 0


async def test_kill_in_the_middle_of_a_crawl_loses_and_doubles_nothing(start_server: ServerStarter) -> None:
    pages = {f"/{number}": html(f"/{number + 1}", text=f"Page {number}.") for number in range(FILES)}
    pages[f"/{FILES - 1}"] = html(text="The last page.")
    async with serving(pages) as site:
        process = start_server(program=dying("take-item", call=4), **SETTINGS)
        async with RagClient(process.address) as client:
            await client.create_collection(COLLECTION)
            request = pb.CrawlSiteRequest(
                collection_id=COLLECTION, start_urls=[site.url("/0")], max_depth=20, ignore_sitemaps=True
            )
            with suppress(grpc.aio.AioRpcError):
                await client.ingest.CrawlSite(request)
            assert await asyncio.to_thread(process.wait) == -signal.SIGKILL
        for step, call in (("take-item", 6), ("end-search", 1)):
            process = start_server(program=dying(step, call=call), **SETTINGS)
            assert await asyncio.to_thread(process.wait) == -signal.SIGKILL, step

        process = start_server(**SETTINGS)
        async with RagClient(process.address) as client:
            await assert_each_once(client, await only_job(client, pb.JOB_KIND_CRAWL), FILES)
        assert process.stop() == 0


async def test_crawl_in_slices_goes_on_where_it_stood(start_server: ServerStarter) -> None:
    """Each slice is shorter than the crawl: it must not begin anew, nor be given up for its many starts."""
    count = 30
    pages = {f"/{number}": html(f"/{number + 1}", text=f"Page {number}.") for number in range(count)}
    pages[f"/{count - 1}"] = html(text="The last page.")
    sliced = {**SETTINGS, "crawl__slice_s": 0.01, "ingest__max_starts": 3, "ingest__concurrency": 1}
    async with serving(pages) as site:
        process = start_server(**sliced)
        async with RagClient(process.address) as client:
            await client.create_collection(COLLECTION)
            request = pb.CrawlSiteRequest(
                collection_id=COLLECTION, start_urls=[site.url("/0")], max_depth=50, ignore_sitemaps=True
            )
            await client.ingest.CrawlSite(request)
            job = await only_job(client, pb.JOB_KIND_CRAWL)
            await assert_each_once(client, job, count)
        assert len(site.paths) == len(set(site.paths)) == count
        assert sum(each.path == "/robots.txt" for each in site.requests) > 3  # asked anew in each slice
        assert process.stop() == 0
