from __future__ import annotations

import gzip
import time

import pytest

from ingest_worker.crawl.sitemaps import parse_sitemap
from tests.crawled_site import Answer, crawl, html, limits, serving

NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*urls: str) -> bytes:
    entries = "".join(f"<url><loc>\n{url} </loc><priority>1</priority></url>" for url in urls)
    return f'<?xml version="1.0" encoding="UTF-8"?><urlset {NAMESPACE}>{entries}</urlset>'.encode()


def index(*urls: str) -> bytes:
    entries = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f"<sitemapindex {NAMESPACE}>{entries}</sitemapindex>".encode()


def pages(data: bytes, max_urls: int = 100, max_bytes: int = 1 << 20) -> list[str]:
    return parse_sitemap(data, max_urls=max_urls, max_bytes=max_bytes).pages


@pytest.mark.parametrize(
    "data",
    [
        urlset("http://h/a", "http://h/b?x=1&amp;y=2"),
        b"\xef\xbb\xbf" + urlset("http://h/a", "http://h/b?x=1&amp;y=2"),
        gzip.compress(urlset("http://h/a", "http://h/b?x=1&amp;y=2")),
        b"http://h/a\nnot a url\nhttp://h/b?x=1&y=2\n",
        urlset("http://h/a", "http://h/b?x=1&amp;y=2").replace(f" {NAMESPACE}".encode(), b""),
    ],
    ids=["xml", "bom", "gzip", "text", "no namespace"],
)
def test_sitemap_locations_are_read(data: bytes) -> None:
    assert pages(data) == ["http://h/a", "http://h/b?x=1&y=2"]


def test_sitemap_index_names_sitemaps() -> None:
    found = parse_sitemap(index("http://h/1", "http://h/2"), max_urls=10, max_bytes=1000)
    assert (found.pages, found.sitemaps) == ([], ["http://h/1", "http://h/2"])


def test_sitemap_locations_are_bounded_in_number() -> None:
    assert len(pages(urlset(*(f"http://h/{number}" for number in range(50))), max_urls=7)) == 7
    assert len(pages(b"http://h/a\n" * 50, max_urls=7)) == 7


def test_sitemap_damaged_gives_what_stands_before() -> None:
    assert pages(urlset("http://h/a") + b"<<<") == ["http://h/a"]
    assert pages(urlset("http://h/a", "http://h/b")[:-60]) == ["http://h/a"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1f\x8b broken",
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"]><urlset><url><loc>http://h/&a;</loc></url></urlset>",
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><urlset><url><loc>http://h/</loc></url></urlset>',
        b"<html><body><a href=x>",
        b'<?xml version="1.0" encoding="no-such"?><urlset/>',
    ],
    ids=["empty", "gzip", "entities", "external", "html", "encoding"],
)
def test_sitemap_that_is_none_or_has_a_document_type_gives_nothing(data: bytes) -> None:
    assert pages(data) == []


def test_sitemap_hostile_is_read_in_time() -> None:
    before = time.process_time()
    assert pages(gzip.compress(bytes(50 << 20))) == []
    assert pages(b"<url>" * 200_000) == []
    assert pages(b"<urlset><url><loc>" + b"x" * 1_000_000 + b"</loc></url></urlset>", max_bytes=2 << 20)
    assert time.process_time() - before < 20


async def test_sitemap_pages_are_visited_after_the_start_page_s_links() -> None:
    async with serving({"/": html("/linked"), "/linked": html(), "/listed": html(text="listed")}) as site:
        site.pages["/sitemap.xml"] = Answer(urlset(site.url("/listed"), "http://other.test/x"))
        found = await crawl(site.base, bounds=limits(concurrency=1))
    assert site.paths == ["/", "/linked", "/listed"]
    assert found.by_path(site)["/listed"].depth == 1


async def test_sitemaps_named_by_robots_are_read_through_their_index() -> None:
    async with serving(
        {"/": html(), "/deep": html(text="deep"), "/sitemap.xml": Answer(b"http://x/")}
    ) as site:
        site.pages["/robots.txt"] = Answer(f"Sitemap: {site.url('/index.xml')}".encode())
        site.pages["/index.xml"] = Answer(index(site.url("/one.xml.gz"), site.url("/index.xml")))
        site.pages["/one.xml.gz"] = Answer(gzip.compress(urlset(site.url("/deep"))))
        found = await crawl(site.base)
    assert found.outcomes(site) == {"/": "fetched", "/deep": "fetched"}
    assert [each.path for each in site.requests].count("/index.xml") == 1


async def test_sitemap_chain_is_bounded() -> None:
    async with serving({"/": html()}) as site:
        site.pages["/sitemap.xml"] = Answer(index(site.url("/s1.xml")))
        for number in range(1, 30):
            site.pages[f"/s{number}.xml"] = Answer(index(site.url(f"/s{number + 1}.xml")))
        await crawl(site.base, bounds=limits(max_sitemaps=4))
    assert site.paths == ["/", "/s1.xml", "/s2.xml", "/s3.xml"]


async def test_sitemap_on_another_host_or_forbidden_is_left_alone() -> None:
    async with serving() as other, serving({"/": html()}) as site:
        site.pages["/robots.txt"] = Answer(
            f"User-agent: *\nDisallow: /closed\nSitemap: {other.url('/s.xml')}\n"
            f"Sitemap: {site.url('/closed.xml')}\nSitemap: {site.url('/away.xml')}\n".encode()
        )
        site.pages["/away.xml"] = Answer(status=302, headers={"location": other.url("/s.xml")})
        await crawl(site.base)
    assert other.requests == []
    assert site.paths == ["/", "/away.xml"]


async def test_sitemaps_are_not_read_where_they_are_not_wanted() -> None:
    async with serving({"/": html(), "/sitemap.xml": Answer(urlset("http://127.0.0.1/x"))}) as site:
        await crawl(site.base, use_sitemaps=False)
        await crawl(site.base, bounds=limits(max_depth=0))
    assert "/sitemap.xml" not in [each.path for each in site.requests]
