from __future__ import annotations

import asyncio

import pytest

from ingest_worker.crawl import CrawlSpec, KnownPage, Outcome, SkipReason, StopReason
from tests.crawled_site import Answer, Site, crawl, crawler, html, known_pages, limits, serving


def tree(site: Site, width: int, depth: int, path: str = "") -> None:
    """Give the site a page for each path of `depth` digits below `width`."""
    children = [f"{path}/{number}" for number in range(width)] if depth else []
    site.pages[path or "/"] = html(*children, text=path)
    for child in children:
        tree(site, width, depth - 1, child)


async def test_crawl_visits_each_page_once_and_breadth_first() -> None:
    async with serving() as site:
        tree(site, width=3, depth=3)
        site.pages["/2/2/2"] = html("/", "/0", "/2/2/2#self", "/0?utm_source=x", text="leaf with links")
        found = await crawl(site.base)
    assert len(found.pages) == len(site.pages) == 40
    assert all(page.outcome is Outcome.FETCHED for page in found.pages)
    depths = [path.count("/") for path in site.paths if path != "/"]
    assert depths == sorted(depths)
    assert {page.depth for page in found.pages if page.requested_url.count("/") == 5} == {3}
    assert found.run.stop_reason is StopReason.COMPLETE


async def test_crawl_page_holds_all_that_the_pipeline_needs() -> None:
    page = Answer(
        b"<p>hi", media_type="Text/HTML; Charset=UTF-8", headers={"etag": '"1"', "last-modified": "Mon"}
    )
    async with serving({"/a.html": page}) as site:
        (result,) = (await crawl(site.url("/a.html"))).pages
    assert (result.url, result.canonical_url) == (site.url("/a.html"), site.url("/a.html"))
    assert (result.depth, result.status, result.data) == (0, 200, b"<p>hi")
    assert (result.media_type, result.charset, result.file_name) == ("text/html", "utf-8", "a.html")
    assert (result.etag, result.last_modified) == ('"1"', "Mon")
    assert len(result.digest) == 64


async def test_crawl_ends_at_max_pages_without_fetching_more() -> None:
    async with serving() as site:
        tree(site, width=5, depth=3)
        found = await crawl(site.base, bounds=limits(max_pages=7))
    assert len(found.pages) == len(site.paths) == 7
    assert found.run.stop_reason is StopReason.MAX_PAGES


async def test_crawl_ends_at_max_depth() -> None:
    async with serving() as site:
        tree(site, width=2, depth=4)
        found = await crawl(site.base, bounds=limits(max_depth=2))
    assert max(page.depth for page in found.pages) == 2
    assert len(found.pages) == 7
    assert found.run.skipped_links[SkipReason.TOO_DEEP] == 8


async def test_crawl_include_and_exclude_choose_pages() -> None:
    async with serving({"/": html("/docs/a", "/docs/old/b", "/blog/c")}) as site:
        site.pages["/docs/a"] = html()
        found = await crawl(site.base, include=("/docs/*",), exclude=("*/old/*",))
    assert found.outcomes(site) == {"/": "fetched", "/docs/a": "fetched"}
    assert found.run.skipped_links == {SkipReason.NOT_INCLUDED: 1, SkipReason.EXCLUDED: 1}


async def test_crawl_stays_on_its_host_and_port_unless_others_are_given() -> None:
    async with serving({"/": html(text="other")}) as other, serving() as site:
        site.pages["/"] = html(other.url("/"), "http://127.0.0.2:9/")
        alone = await crawl(site.base)
        assert other.requests == []
        both = await crawl(site.base, hosts=(f"127.0.0.1:{site.port}", f"127.0.0.1:{other.port}"))
    assert alone.run.skipped_links == {SkipReason.OTHER_HOST: 2}
    assert [page.url for page in both.pages] == [site.url("/"), other.url("/")]


async def test_crawl_redirect_is_followed_and_names_the_page() -> None:
    async with serving({"/": html("/old"), "/new": html(text="new")}) as site:
        site.pages["/old"] = Answer(status=301, headers={"location": "/newer"})
        site.pages["/newer"] = Answer(status=302, headers={"location": "new"})
        found = await crawl(site.base)
    page = found.by_path(site)["/old"]
    assert (page.outcome, page.url) == (Outcome.FETCHED, site.url("/new"))


async def test_crawl_redirect_out_of_scope_is_not_followed() -> None:
    async with serving({"/": html(text="other")}) as other, serving({"/": html("/a", "/b")}) as site:
        site.pages["/a"] = Answer(status=302, headers={"location": other.url("/")})
        site.pages["/b"] = Answer(status=302, headers={"location": "/private"})
        site.pages["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /private")
        found = await crawl(site.base)
    assert found.outcomes(site) == {"/": "fetched", "/a": "other_host", "/b": "robots_disallowed"}
    assert other.requests == []
    assert "/private" not in site.paths


async def test_crawl_two_redirects_to_one_page_give_one_document() -> None:
    async with serving({"/": html("/a", "/b"), "/c": html(text="c")}) as site:
        for path in ("/a", "/b"):
            site.pages[path] = Answer(status=302, headers={"location": "/c"})
        found = await crawl(site.base, bounds=limits(concurrency=1))
    assert found.outcomes(site) == {"/": "fetched", "/a": "fetched", "/b": "duplicate_url"}
    assert site.paths.count("/c") == 1


async def test_crawl_canonical_link_gives_one_document() -> None:
    canonical = '<link rel="canonical" href="/page">'
    async with serving({"/": html("/page?sort=a", "/page?sort=b", "/page")}) as site:
        for path in ("/page?sort=a", "/page?sort=b", "/page"):
            site.pages[path] = html(head=canonical, text=path)
        found = await crawl(site.base, bounds=limits(concurrency=1))
    taken = [page for page in found.pages if page.outcome is Outcome.FETCHED and page.depth]
    assert [(page.url, page.canonical_url) for page in taken] == [
        (site.url("/page?sort=a"), site.url("/page"))
    ]
    assert found.outcomes(site)["/page"] == "duplicate_url"


async def test_crawl_canonical_links_in_a_loop_give_a_document() -> None:
    async with serving({"/": html("/a", "/b")}) as site:
        site.pages["/a"] = html(head='<link rel="canonical" href="/b">', text="a")
        site.pages["/b"] = Answer(b"b", headers={"link": '</a>; rel="canonical"'})
        found = await crawl(site.base)
    assert sorted(found.outcomes(site).values()) == ["duplicate_url", "fetched", "fetched"]


@pytest.mark.parametrize("href", ["http://127.0.0.2:9/x", "file:///x", "http://[::1/"])
async def test_crawl_canonical_out_of_scope_is_ignored(href: str) -> None:
    async with serving({"/": html(head=f'<link rel="canonical" href="{href}">')}) as site:
        (page,) = (await crawl(site.base)).pages
    assert (page.outcome, page.canonical_url) == (Outcome.FETCHED, site.url("/"))


@pytest.mark.parametrize(
    ("head", "headers", "outcome", "follows"),
    [
        ('<meta name="robots" content="noindex">', {}, "noindex", True),
        ('<meta name="robots" content="nofollow">', {}, "fetched", False),
        ('<meta name="rag-server-test" content="none">', {}, "noindex", False),
        ("", {"x-robots-tag": "noindex, nofollow"}, "noindex", False),
        ("", {"x-robots-tag": "otherbot: noindex"}, "fetched", True),
    ],
)
async def test_crawl_obeys_what_pages_and_headers_say_to_robots(
    head: str, headers: dict[str, str], outcome: str, follows: bool
) -> None:
    async with serving({"/next": html(text="next")}) as site:
        site.pages["/"] = Answer(html("/next", head=head).body, headers=headers)
        found = await crawl(site.base)
    assert found.outcomes(site)["/"] == outcome
    assert ("/next" in site.paths) is follows
    assert bool(found.by_path(site)["/"].data) is (outcome == "fetched")


async def test_crawl_documents_are_taken_where_they_are_wanted() -> None:
    pages = {
        "/": html("/a.pdf", "/b.png", "/c.docx"),
        "/a.pdf": Answer(b"%PDF-1.7", media_type="application/pdf"),
        "/b.png": Answer(b"png", media_type="image/png"),
        "/c.docx": Answer(b"PK", media_type="application/octet-stream"),
    }
    async with serving(dict(pages)) as site:
        without = await crawl(site.base)
        taken = await crawl(site.base, include_documents=True)
    assert without.outcomes(site)["/a.pdf"] == "documents_not_included"
    assert without.outcomes(site)["/b.png"] == "unsupported_media_type"
    assert taken.outcomes(site) == {
        "/": "fetched",
        "/a.pdf": "fetched",
        "/b.png": "unsupported_media_type",
        "/c.docx": "fetched",
    }
    assert taken.by_path(site)["/a.pdf"].data == b"%PDF-1.7"


async def test_crawl_same_content_twice_is_reported() -> None:
    async with serving({"/": html("/a", "/b")}) as site:
        site.pages["/a"] = site.pages["/b"] = html(text="the same")
        found = await crawl(site.base, bounds=limits(concurrency=1))
    page = found.by_path(site)["/b"]
    assert page.skip_reason is SkipReason.DUPLICATE_CONTENT
    assert (page.duplicate_of, page.data) == (site.url("/a"), b"")
    assert found.run.taken == 2


async def test_crawl_error_status_is_a_failure_of_that_page_only() -> None:
    async with serving({"/": html("/a", "/b", "/c"), "/c": html()}) as site:
        site.pages["/b"] = Answer(b"secret detail", status=500)
        found = await crawl(site.base)
    assert found.outcomes(site) == {"/": "fetched", "/a": "failed", "/b": "failed", "/c": "fetched"}
    failed = found.by_path(site)
    assert failed["/a"].status == 404
    assert failed["/a"].error is not None
    assert not failed["/a"].error.is_retryable
    assert failed["/b"].error is not None
    assert failed["/b"].error.is_retryable
    assert "secret" not in failed["/b"].error.message
    assert (site.paths.count("/a"), site.paths.count("/b")) == (1, 2)


async def test_crawl_page_that_fails_once_is_tried_again() -> None:
    async with serving({"/": html("/a")}) as site:
        tries: list[str] = []

        def answer(path: str) -> Answer:
            tries.append(path)
            return html(text="at last") if len(tries) > 1 else Answer(status=502)

        site.pages["/robots.txt"] = Answer(status=404)
        site.fallback = answer
        found = await crawl(site.base, use_sitemaps=False)
    assert found.outcomes(site) == {"/": "fetched", "/a": "fetched"}


async def test_crawl_busy_host_is_left_alone_for_a_while() -> None:
    async with serving({"/": Answer(status=503, headers={"retry-after": "2"})}) as site:
        found = await crawl(site.base, use_sitemaps=False)
    times = [each.time_s for each in site.requests if each.path == "/"]
    assert found.outcomes(site) == {"/": "failed"}
    assert times[1] - times[0] > 1.9


async def test_crawl_again_asks_conditionally_and_follows_known_links() -> None:
    async with serving({"/": html("/a", "/b")}) as site:
        site.pages["/"] = Answer(html("/a", "/b").body, headers={"etag": '"1"'})
        site.pages["/a"] = Answer(b"<p>a", headers={"last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"})
        site.pages["/b"] = html(text="b")
        first = await crawl(site.base)
        site.pages["/a"] = Answer(b"<p>changed", headers={"last-modified": "Tue, 02 Jan 2024 00:00:00 GMT"})
        second = await crawl(site.base, known=known_pages(first))
    assert second.outcomes(site) == {"/": "unchanged", "/a": "fetched", "/b": "unchanged"}
    by_path = second.by_path(site)
    assert (by_path["/"].status, by_path["/"].etag, by_path["/"].data) == (304, '"1"', b"")
    assert (by_path["/b"].status, by_path["/b"].data) == (200, b"")
    assert by_path["/a"].data == b"<p>changed"
    assert known_pages(second)[0].links == known_pages(first)[0].links
    assert second.run.taken == 3


async def test_crawl_again_reports_what_is_gone_or_moved() -> None:
    async with serving({"/": html("/new"), "/new": html(text="n")}) as site:
        site.pages["/moved"] = Answer(status=301, headers={"location": "/new-place"})
        site.pages["/new-place"] = html(text="moved here")
        site.pages["/deleted"] = Answer(status=410)
        site.pages["/unlinked"] = html(text="still here")
        known = [KnownPage(site.url(path), depth=1) for path in ("/moved", "/deleted", "/lost", "/unlinked")]
        found = await crawl(site.base, known=known)
    outcomes = found.outcomes(site)
    assert (outcomes["/deleted"], outcomes["/lost"]) == ("gone", "gone")
    assert (outcomes["/unlinked"], outcomes["/moved"]) == ("fetched", "fetched")
    moved = found.by_path(site)["/moved"]
    assert (moved.moved_from, moved.url) == (site.url("/moved"), site.url("/new-place"))
    assert found.by_path(site)["/deleted"].error is None


async def test_crawl_304_for_an_unknown_page_is_a_failure() -> None:
    async with serving({"/": Answer(status=304)}) as site:
        assert (await crawl(site.base)).outcomes(site) == {"/": "failed"}


async def test_crawl_keeps_to_its_concurrency_per_host_and_reuses_connections() -> None:
    async with serving() as site:
        tree(site, width=12, depth=1)
        site.delay_s = 0.02
        await crawl(site.base, bounds=limits(concurrency=8, concurrency_per_host=3))
    assert site.most_busy == 3
    assert site.connections <= 4


async def test_crawl_keeps_to_its_rate() -> None:
    async with serving() as site:
        tree(site, width=8, depth=1)
        await crawl(site.base, bounds=limits(requests_per_second=20))
    times = [each.time_s for each in site.requests]
    assert times[-1] - times[0] > (len(times) - 1) / 20 * 0.6  # unpaced: a tenth of it at most


async def test_crawl_several_start_urls_are_all_visited() -> None:
    async with serving({"/a": html(text="a"), "/b": html(text="b")}) as site:
        found = await crawl(site.url("/a"), site.url("/b"), site.url("/a#x"))
    assert found.outcomes(site) == {"/a": "fetched", "/b": "fetched"}


async def test_crawl_sends_no_cookies_and_no_referrer() -> None:
    async with serving({"/a": html(text="a")}) as site:
        site.pages["/"] = Answer(html("/a").body, headers={"set-cookie": "id=1; Path=/"})
        await crawl(site.base)
    assert all("cookie" not in each.headers and "referer" not in each.headers for each in site.requests)


async def test_crawl_left_early_stops_all_of_its_work() -> None:
    async with serving() as site:
        tree(site, width=20, depth=1)
        before = asyncio.all_tasks()
        async with crawler().crawl(CrawlSpec((site.base,), limits=limits())) as run:
            site.delay_s = 30
            await anext(run)  # the links of the start page are asked for now, and hang
            left = [task for task in asyncio.all_tasks() - before if "visit" in repr(task.get_coro())]
            site.delay_s = 0
        assert all(task.done() for task in left)


async def test_crawl_cancelled_ends_at_once_without_tasks() -> None:
    async with serving() as site:
        tree(site, width=20, depth=1)
        site.delay_s = 60
        before = asyncio.all_tasks()
        task = asyncio.create_task(crawl(site.base))
        await site.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        left = asyncio.all_tasks() - before
        assert not [each for each in left if "serve" not in repr(each.get_coro())], "but those of the site"


async def test_crawl_slow_caller_bounds_what_is_fetched_ahead() -> None:
    async with serving() as site:
        tree(site, width=40, depth=1)
        spec = CrawlSpec((site.base,), limits=limits(concurrency=4), use_sitemaps=False)
        async with crawler().crawl(spec) as run:
            await anext(run)
            await asyncio.sleep(0.5)
            assert len(site.paths) <= 1 + 4
