"""S5 and S6 for crawls as jobs: what a hostile site does ends in errors of items, and the server goes on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ingest_worker import network
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from rag_server.app import running_server
from tests.conftest import make_settings
from tests.crawled_site import Answer, html, serving
from tests.rag_client import RagClient

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

VICTIM = "127.0.0.2"
"""Where a server listens that must never be connected to. 127.0.0.1, the site's, counts as public."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RagClient]:
    """Run a server that fetches from public addresses only, and is in no mood to wait."""
    settings = make_settings(
        tmp_path_factory.mktemp("guarded"),
        server={"health_interval_s": 3600.0},
        crawl={"requests_per_second": 1000.0, "page_timeout_s": 1.0, "max_page_bytes": 20_000},
    )
    async with running_server(settings) as running, RagClient(running.address) as client:
        await client.create_collection("guarded")
        yield client


@pytest.fixture
def only_the_site_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    is_public = network.is_public
    monkeypatch.setattr(network, "is_public", lambda address: address == "127.0.0.1" or is_public(address))


async def crawl(client: RagClient, *urls: str, **fields: Any) -> pb.Job:
    request = pb.CrawlSiteRequest(
        collection_id="guarded", start_urls=urls, **{"ignore_sitemaps": True, **fields}
    )
    return await client.end_of((await client.ingest.CrawlSite(request)).job.id)


def reasons(job: pb.Job) -> dict[str, str]:
    return {each.item: each.reason for each in job.item_errors}


async def test_crawl_of_loopback_is_refused_without_the_setting(guarded: RagClient) -> None:
    async with serving({"/": html(text="Within.")}) as site:
        job = await crawl(guarded, site.url("/"))
        assert site.connections == 0
    assert (job.state, job.error.reason) == (pb.JOB_STATE_FAILED, "NO_ITEM_SUCCEEDED")
    assert reasons(job) == {site.url("/"): "URI_FORBIDDEN_ADDRESS"}


@pytest.mark.usefixtures("only_the_site_is_public")
@pytest.mark.parametrize("name", [VICTIM, "[::ffff:127.0.0.2]", "2130706434"])
async def test_redirect_to_a_private_address_on_a_later_hop_is_an_error_of_the_page(
    guarded: RagClient, name: str
) -> None:
    async with (
        serving({"/secret": html(text="Secret.")}, host=VICTIM) as victim,
        serving({"/": html("/hop", text=f"Public {name}.")}) as site,
    ):
        site.pages["/hop"] = Answer(status=302, headers={"location": "/next"})
        target = f"http://{name}:{victim.port}/secret"
        site.pages["/next"] = Answer(status=302, headers={"location": target})
        hosts = [f"127.0.0.1:{site.port}", f"{name}:{victim.port}"]
        job = await crawl(guarded, site.url("/"), hosts=hosts)
        assert victim.connections == 0
    assert job.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED
    assert reasons(job) == {site.url("/hop"): "URI_FORBIDDEN_ADDRESS"}


@pytest.mark.usefixtures("only_the_site_is_public")
async def test_name_that_changes_its_address_is_refused_at_the_next_connection(
    guarded: RagClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    answers = itertools.chain(["127.0.0.1"] * 2, itertools.repeat(VICTIM))
    look_up = loop.getaddrinfo

    async def rebinding(host: Any, port: Any, **options: Any) -> Any:
        return await look_up(next(answers) if host == "rebind.test" else host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", rebinding)
    close = {"connection": "close"}  # so that each request needs a connection of its own
    pages = {
        "/robots.txt": Answer(b"", headers=close),
        "/": Answer(html("/secret", text="Rebinding.").body, headers=close),
    }
    async with serving(pages) as site:
        base = f"http://rebind.test:{site.port}"
        job = await crawl(guarded, f"{base}/")
    assert job.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED
    assert reasons(job) == {f"{base}/secret": "URI_FORBIDDEN_ADDRESS"}


@pytest.mark.usefixtures("only_the_site_is_public")
async def test_hostile_answers_are_errors_of_their_pages_and_the_others_go_on(guarded: RagClient) -> None:
    async def silence(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n")
        while True:
            writer.write(b"x" * 4096)
            await writer.drain()

    pages: dict[str, Any] = {
        "/": html("/silent", "/endless", "/loop", "/file", "/fine", text="A page among wolves."),
        "/silent": silence,
        "/endless": endless,
        "/loop": Answer(status=302, headers={"location": "/loop2"}),
        "/loop2": Answer(status=302, headers={"location": "/loop"}),
        "/file": Answer(status=302, headers={"location": "file:///etc/passwd"}),
        "/fine": html(text="A page about sheep."),
    }
    async with serving(pages) as site:
        job = await crawl(guarded, site.url("/"))
    assert job.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED
    found = {name.removeprefix(site.base): reason for name, reason in reasons(job).items()}
    assert found == {
        "/silent": "URI_FETCH_FAILED",
        "/endless": "DOCUMENT_TOO_LARGE",
        "/loop": "URI_TOO_MANY_REDIRECTS",
        "/file": "UNSUPPORTED_URI_SCHEME",
    }
    assert job.progress.done_item_count == 2


@pytest.mark.usefixtures("only_the_site_is_public")
async def test_site_without_end_ends_at_the_number_of_pages(guarded: RagClient) -> None:
    async with serving() as site:
        site.fallback = lambda path: html(*(f"{path}x{each}" for each in range(9)), text=f"Trap {path}.")
        job = await crawl(guarded, site.url("/trap"), max_pages=12, max_depth=100)
        asked = len(site.paths)
    assert (job.state, job.progress.done_item_count) == (pb.JOB_STATE_SUCCEEDED, 12)
    assert asked <= 12


@pytest.mark.usefixtures("only_the_site_is_public")
async def test_robots_is_obeyed_and_what_it_forbids_counts_as_left_out(guarded: RagClient) -> None:
    pages = {
        "/robots.txt": Answer(b"User-agent: *\nDisallow: /\n", media_type="text/plain"),
        "/": html(text="Private."),
    }
    async with serving(pages) as site:
        job = await crawl(guarded, site.url("/"))
        assert site.paths == []
    assert (job.state, job.error.reason) == (pb.JOB_STATE_FAILED, "NO_ITEM_SUCCEEDED")
    assert job.error.metadata == {"failed": "0", "skipped": "1"}
    listed = await guarded.documents.ListDocuments(
        document_pb.ListDocumentsRequest(collection_id="guarded", page_size=1000)
    )
    assert site.url("/") not in {each.id for each in listed.documents}
