"""S5 and S6: a crawl must not reach what is not public, and must end whatever a server does."""

from __future__ import annotations

import asyncio
import gzip
import itertools

import pytest

from ingest_worker import network
from ingest_worker.crawl import CrawlSpec, SkipReason, StopReason
from tests.crawled_site import Answer, Crawl, Site, crawl, crawler, html, limits, serving

pytestmark = pytest.mark.timeout(60)

VICTIM = "127.0.0.2"
"""Where a server listens that must never be connected to. 127.0.0.1, the site's, counts as public."""
VICTIM_NAMES = [VICTIM, "[::ffff:127.0.0.2]", "2130706434", "0x7f000002", "127.2", "victim.test"]
SPECIAL = [
    "169.254.169.254",
    "100.64.0.1",
    "10.0.0.1",
    "192.168.0.1",
    "0.0.0.1",
    "[::1]",
    "[fe80::1]",
    "[fd00::1]",
]


@pytest.fixture
def only_the_site_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    is_public = network.is_public
    monkeypatch.setattr(network, "is_public", lambda address: address == "127.0.0.1" or is_public(address))


async def resolver(host: str, port: int) -> list[str]:
    if host.endswith(".test"):
        return [VICTIM if host == "victim.test" else "127.0.0.1"]
    return await network.resolve(host, port)


async def crawl_guarded(site: Site, *starts: str, hosts: tuple[str, ...] = ()) -> Crawl:
    """Crawl with addresses checked. The target's host is in scope: only the address is what forbids it."""
    by = crawler(allow_private_addresses=False, resolver=resolver)
    return await crawl(*starts, by=by, hosts=(f"127.0.0.1:{site.port}", *hosts))


def target(name: str, port: int) -> tuple[str, str]:
    return f"http://{name}:{port}/secret", f"{name}:{port}"


@pytest.mark.usefixtures("only_the_site_is_public")
@pytest.mark.parametrize("name", VICTIM_NAMES + SPECIAL)
@pytest.mark.parametrize(
    "way", ["start", "link", "redirect", "robots", "sitemap line", "sitemap", "canonical"]
)
async def test_crawl_to_a_forbidden_address_is_refused_when_connecting(name: str, way: str) -> None:
    async with serving({"/secret": html()}, host=VICTIM) as victim, serving({"/": html(text="home")}) as site:
        url, host = target(name, victim.port)
        start = site.base
        if way == "start":
            start = url
        elif way == "link":
            site.pages["/"] = html(url)
        elif way == "redirect":
            site.pages["/"] = html("/hop")
            site.pages["/hop"] = Answer(status=302, headers={"location": url})
        elif way == "robots":
            site.pages["/robots.txt"] = Answer(status=302, headers={"location": url})
        elif way == "sitemap line":
            site.pages["/robots.txt"] = Answer(f"Sitemap: {url}".encode())
        elif way == "sitemap":
            site.pages["/sitemap.xml"] = Answer(f"<urlset><url><loc>{url}</loc></url></urlset>".encode())
        else:
            site.pages["/"] = html(head=f'<link rel="canonical" href="{url}">')
        found = await crawl_guarded(site, start, hosts=(host,))
        assert victim.connections == 0
    errors = [page.error.reason for page in found.pages if page.error is not None]
    if way in {"start", "link", "redirect", "sitemap"}:
        assert errors == ["URI_FORBIDDEN_ADDRESS"]
    elif way == "robots":
        assert [page.skip_reason for page in found.pages] == [SkipReason.ROBOTS_UNREACHABLE]
    else:
        assert [page.outcome for page in found.pages] == ["fetched"]


@pytest.mark.usefixtures("only_the_site_is_public")
async def test_crawl_host_that_rebinds_is_refused_at_the_next_connection() -> None:
    answers = itertools.chain(["127.0.0.1"] * 2, itertools.repeat(VICTIM))

    async def rebinding(host: str, port: int) -> list[str]:
        return [next(answers)]

    async with serving({"/": html("/secret")}) as site:
        for path in ("/", "/robots.txt"):  # closing makes the crawler connect anew
            body = html("/secret").body if path == "/" else b""
            site.pages[path] = Answer(body, headers={"connection": "close"})
        by = crawler(allow_private_addresses=False, resolver=rebinding)
        found = await crawl(f"http://rebind.test:{site.port}/", by=by, use_sitemaps=False)
    assert [page.outcome for page in found.pages] == ["fetched", "failed"]
    assert found.pages[1].error is not None
    assert found.pages[1].error.reason == "URI_FORBIDDEN_ADDRESS"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/"])
async def test_crawl_other_schemes_are_refused_everywhere(location: str) -> None:
    async with serving({"/": html("/hop", location)}) as site:
        site.pages["/hop"] = Answer(status=302, headers={"location": location})
        site.pages["/robots.txt"] = Answer(f"Sitemap: {location}".encode())
        found = await crawl(site.base)
    assert found.outcomes(site) == {"/": "fetched", "/hop": "failed"}
    error = found.by_path(site)["/hop"].error
    assert error is not None
    assert error.reason == "UNSUPPORTED_URI_SCHEME"
    assert found.run.skipped_links == {SkipReason.UNSUPPORTED_SCHEME: 1}


async def test_crawl_loopback_is_refused_without_the_setting() -> None:
    async with serving({"/": html()}) as site:
        found = await crawl(site.base, by=crawler(allow_private_addresses=False))
        assert site.connections == 0
    assert found.pages[0].error is not None
    assert found.pages[0].error.reason == "URI_FORBIDDEN_ADDRESS"


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        writer.write(b"x-%d: y\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: " + b"y" * 60_000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("handler", [drip, drip_headers, silence])
async def test_crawl_slow_server_costs_that_page_only(handler: object) -> None:
    async with serving({"/": html("/slow", "/b"), "/b": html(text="b")}) as site:
        site.pages["/slow"] = handler  # type: ignore[assignment]
        found = await crawl(site.base, bounds=limits(page_timeout_s=0.5), use_sitemaps=False)
    assert found.outcomes(site) == {"/": "fetched", "/slow": "failed", "/b": "fetched"}
    error = found.by_path(site)["/slow"].error
    assert error is not None
    assert error.reason == "URI_FETCH_FAILED"


async def test_crawl_slow_robots_and_sitemap_end_in_time() -> None:
    async with serving({"/": html(), "/sitemap.xml": drip}) as site:
        found = await crawl(site.base, bounds=limits(page_timeout_s=0.3))
        assert found.outcomes(site) == {"/": "fetched"}
        site.pages["/robots.txt"] = silence
        found = await crawl(site.base, bounds=limits(page_timeout_s=0.3))
    assert found.outcomes(site) == {"/": "robots_unreachable"}


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (endless, "DOCUMENT_TOO_LARGE"),
        (endless_headers, "URI_FETCH_FAILED"),
        (
            Answer(gzip.compress(bytes(20_000_000)), headers={"content-encoding": "gzip"}),
            "DOCUMENT_TOO_LARGE",
        ),
    ],
    ids=["body", "headers", "gzip bomb"],
)
async def test_crawl_endless_answer_costs_that_page_only(handler: object, reason: str) -> None:
    async with serving({"/": html("/big", "/b"), "/b": html(text="b")}) as site:
        site.pages["/big"] = handler  # type: ignore[assignment]
        found = await crawl(site.base, bounds=limits(max_page_bytes=1_000_000), use_sitemaps=False)
    assert found.outcomes(site) == {"/": "fetched", "/big": "failed", "/b": "fetched"}
    error = found.by_path(site)["/big"].error
    assert error is not None
    assert error.reason == reason


async def test_crawl_endless_robots_is_read_to_its_bound() -> None:
    async with serving({"/": html(), "/robots.txt": endless}) as site:
        found = await crawl(site.base, use_sitemaps=False)
    assert found.outcomes(site) == {"/": "fetched"}


async def test_crawl_redirect_loop_ends() -> None:
    async with serving({"/": html("/a")}) as site:
        site.pages["/a"] = Answer(status=302, headers={"location": "/b"})
        site.pages["/b"] = Answer(status=302, headers={"location": "/a"})
        found = await crawl(site.base, bounds=limits(max_redirects=4))
    error = found.by_path(site)["/a"].error
    assert error is not None
    assert error.reason == "URI_TOO_MANY_REDIRECTS"
    assert len(site.paths) == 1 + 5


async def test_crawl_trap_of_ever_deeper_paths_ends() -> None:
    async with serving() as site:
        site.fallback = lambda path: Answer(status=404) if "." in path else html("a/", "b/", text=path)
        found = await crawl(site.base, bounds=limits(max_pages=10_000, max_depth=100, max_path_segments=8))
    assert found.run.stop_reason is StopReason.COMPLETE
    assert len(found.pages) < 2**9
    assert found.run.skipped_links[SkipReason.REPETITIVE_PATH] > 0


async def test_crawl_calendar_trap_is_bounded_by_variants() -> None:
    async with serving() as site:

        def month(path: str) -> Answer:
            if "." in path:
                return Answer(status=404)
            number = int(path.partition("=")[2] or 0)
            return html(f"/cal?m={number + 1}", f"/cal?m={number + 2}", text=path)

        site.fallback = month
        found = await crawl(site.base, bounds=limits(max_pages=1000, max_depth=100, max_query_variants=12))
    assert len(site.paths) == 13
    assert found.run.skipped_links[SkipReason.TOO_MANY_VARIANTS] > 0


async def test_crawl_trap_of_pages_without_content_is_bounded_in_requests() -> None:
    async with serving() as site:
        numbers = itertools.count()

        def page(path: str) -> Answer:
            if "." in path:
                return Answer(status=404)
            return html(
                *(f"/{next(numbers)}" for _ in range(5)),
                head='<meta name=robots content="noindex">',
                text=str(next(numbers)),
            )

        site.fallback = page
        found = await crawl(site.base, bounds=limits(max_pages=5, max_depth=100))
    assert found.run.stop_reason is StopReason.MAX_REQUESTS
    assert len(site.requests) == limits(max_pages=5).max_requests


async def test_crawl_total_bytes_are_bounded() -> None:
    async with serving() as site:
        site.fallback = lambda path: (
            Answer(status=404) if "." in path else html(f"/{len(path)}{path}", text=path + "x" * 10_000)
        )
        bounds = limits(max_total_bytes=55_000, concurrency=1, max_depth=100, max_path_segments=99)
        found = await crawl(site.base, bounds=bounds)
        assert found.run.stop_reason is StopReason.MAX_BYTES
        assert 4 <= len(found.pages) <= 5
        waiting = found.run.state().waiting
    assert len(waiting) == 1, "the page that was being read is still to be visited"


async def test_crawl_total_time_is_bounded() -> None:
    async with serving({"/": html("/slow"), "/slow": silence}) as site:
        found = await crawl(site.base, bounds=limits(max_duration_s=1.0), use_sitemaps=False)
        assert found.run.stop_reason is StopReason.MAX_DURATION
        assert [entry.url for entry in found.run.state().waiting] == [site.url("/slow")]


async def test_crawl_page_with_too_many_links_is_bounded() -> None:
    async with serving({"/": html(*(f"/{number}" for number in range(3000)))}) as site:
        found = await crawl(
            site.base, bounds=limits(max_links_per_page=1000, max_frontier_urls=500, max_pages=1)
        )
        state = found.run.state()
    assert len(state.waiting) == 500
    assert found.run.skipped_links == {SkipReason.TOO_MANY_LINKS: 2000, SkipReason.FRONTIER_FULL: 500}


async def test_crawl_deeply_nested_page_is_taken_and_the_loop_stays_free() -> None:
    body = b'<a href="/next">n</a>' + b"<div>" * 100_000
    async with serving({"/": Answer(body), "/next": html(text="next")}) as site:
        task = asyncio.create_task(crawl(site.base))
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        found = await task
    assert found.outcomes(site) == {"/": "fetched", "/next": "fetched"}
    assert ticks > 1


async def test_crawl_that_a_hostile_server_hangs_can_be_left() -> None:
    async with serving({"/": html(*(f"/{number}" for number in range(20)))}) as site:
        for number in range(20):
            site.pages[f"/{number}"] = drip
        spec = CrawlSpec((site.base,), limits=limits(), use_sitemaps=False)
        loop = asyncio.get_running_loop()
        async with crawler().crawl(spec) as run:
            await anext(run)
            await asyncio.sleep(0.2)
            before_s = loop.time()
        assert loop.time() - before_s < 5
