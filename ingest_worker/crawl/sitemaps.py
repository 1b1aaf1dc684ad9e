"""Sitemaps (sitemaps.org protocol 0.9): XML, an index of them, plain text, each also gzipped."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from ingest_worker.crawl.client import CrawlClient
from ingest_worker.crawl.pace import HostPacer
from ingest_worker.crawl.robots import RobotsCache
from ingest_worker.crawl.scope import Scope
from ingest_worker.crawl.spec import CrawlLimits
from ingest_worker.crawl.urls import normalize_url, origin_of
from rag_server.errors import InvalidArgument, RagError

_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_FEED_BYTES = 1 << 16
_MAX_LOCATION_CHARACTERS = 8_000


@dataclass(slots=True)
class Sitemap:
    """What one sitemap lists, as it is written there."""

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


def parse_sitemap(data: bytes, *, max_urls: int, max_bytes: int) -> Sitemap:
    """Return at most `max_urls` locations of a sitemap, of which at most `max_bytes` are expanded and read.

    A damaged file gives what stands before the damage; one with a document type (entities) nothing more.
    """
    if data.startswith(_GZIP):
        try:
            data = zlib.decompressobj(_GZIP_WINDOW).decompress(data, max_bytes)
        except zlib.error:
            return Sitemap()
    data = data[:max_bytes]
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        lines = (line.strip() for line in data.decode("utf-8-sig", errors="replace").splitlines())
        urls = (line for line in lines if line.startswith(("http://", "https://")))
        return Sitemap(pages=[url for url, _ in zip(urls, range(max_urls), strict=False)])
    target = _Target(max_urls)
    parser = DefusedXMLParser(target=target, forbid_dtd=True)
    try:
        for start in range(0, len(data), _FEED_BYTES):
            parser.feed(data[start : start + _FEED_BYTES])
        parser.close()
    except (ParseError, DefusedXmlException, _FullError, LookupError, ValueError):
        pass  # what was read up to here counts; the rest cannot be, or need not be
    return target.found


class _FullError(Exception):
    """Enough URLs were found."""


class _Target:
    """Receives the parser's events; builds no tree, however deep the elements nest."""

    def __init__(self, max_urls: int) -> None:
        self.found = Sitemap()
        self._left = max_urls
        self._entry = ""
        self._location: list[str] | None = None
        self._characters = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        if name in {"url", "sitemap"}:
            self._entry = name
        elif name == "loc" and self._entry:
            self._location, self._characters = [], 0

    def data(self, text: str) -> None:
        self._characters += len(text)
        if self._location is not None and self._characters <= _MAX_LOCATION_CHARACTERS:
            self._location.append(text)

    def end(self, tag: str) -> None:
        name = tag.rpartition("}")[2]
        if name == self._entry:
            self._entry = ""
        if name != "loc" or self._location is None:
            return
        location, self._location = "".join(self._location).strip(), None
        (self.found.pages if self._entry == "url" else self.found.sitemaps).append(location)
        self._left -= 1
        if self._left <= 0:
            raise _FullError

    def close(self) -> None:
        """All was read."""


class SitemapReader:
    """Finds and reads the sitemaps of a site."""

    def __init__(
        self, client: CrawlClient, robots: RobotsCache, pacer: HostPacer, scope: Scope, limits: CrawlLimits
    ) -> None:
        self._client = client
        self._robots = robots
        self._pacer = pacer
        self._scope = scope
        self._limits = limits

    async def discover(self, start_urls: Iterable[str]) -> list[str]:
        """Return the pages in the sitemaps that robots.txt names and in `/sitemap.xml`, normalised.

        Sitemaps on hosts out of scope are left alone. One that cannot be read is left out.
        """
        limits = self._limits
        waiting: deque[str] = deque()
        for origin in dict.fromkeys(origin_of(url) for url in start_urls):
            rules = await self._robots.rules(origin + "/")
            named = _normalized(rules.sitemaps[: limits.max_sitemaps], origin + "/")
            waiting.extend(named or [f"{origin}/sitemap.xml"])
        pages: dict[str, None] = {}
        seen: set[str] = set()
        while waiting and len(seen) < limits.max_sitemaps and len(pages) < limits.max_frontier_urls:
            url = waiting.popleft()
            if url in seen:
                continue
            seen.add(url)
            found = await self._read(url, limits.max_frontier_urls)
            waiting.extend(_normalized(found.sitemaps[: limits.max_sitemaps], url))
            pages.update(dict.fromkeys(await asyncio.to_thread(_normalized, found.pages, url)))
        return list(pages)[: limits.max_frontier_urls]

    async def _permit(self, url: str) -> bool:
        if not self._scope.has_host(url):
            return False
        rules = await self._robots.rules(url)
        return rules.delay_s <= self._limits.max_crawl_delay_s and await rules.refusal(url) is None

    async def _read(self, url: str, max_urls: int) -> Sitemap:
        limit_bytes = self._limits.max_sitemap_bytes
        try:
            if not await self._permit(url):
                return Sitemap()
            async with self._pacer.turn(origin_of(url), (await self._robots.rules(url)).delay_s):
                found = await self._client.small_file(
                    url,
                    limit_bytes=limit_bytes,
                    max_redirects=self._limits.max_redirects,
                    permit=self._permit,
                )
        except RagError:
            return Sitemap()  # a sitemap is only a help: without it there are the links
        return await asyncio.to_thread(parse_sitemap, found.data, max_urls=max_urls, max_bytes=limit_bytes)


def _normalized(urls: Iterable[str], base: str) -> list[str]:
    found: list[str] = []
    for url in urls:
        try:
            found.append(normalize_url(url, base))
        except InvalidArgument:
            continue
    return found
