"""A web site on loopback for the tests of the crawler: HTTP/1.1 over asyncio, with a record of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from ingest_worker.crawl import Crawler, CrawlLimits, CrawlRun, CrawlSpec, CrawlState, KnownPage, PageResult

Handler = Callable[[asyncio.StreamWriter], Awaitable[None]]
AGENT = "rag-server-test/1.0 (+https://example.org)"


@dataclass(frozen=True)
class Answer:
    """What the site answers at a path."""

    body: bytes = b""
    status: int = 200
    media_type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        head = {"content-type": self.media_type, "content-length": str(len(self.body)), **self.headers}
        lines = [
            f"HTTP/1.1 {self.status} Status",
            *(f"{name}: {value}" for name, value in head.items() if value),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if self.status == 304 else self.body)


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    time_s: float


def html(*links: str, head: str = "", text: str = "") -> Answer:
    """Return a page with links; without a text it is unlike pages with other links only."""
    anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
    return Answer(f"<html><head>{head}</head><body>{text or (head, links)}{anchors}</body></html>".encode())


class Site:
    """Serves `pages`; anything else is answered by `fallback` (404)."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer | Handler] = {}
        self.fallback: Callable[[str], Answer] = lambda path: Answer(b"absent", status=404)
        self.requests: list[Request] = []
        self.asked = asyncio.Event()
        self.busy = 0
        self.most_busy = 0
        self.connections = 0
        self.delay_s = 0.0
        self.host = "127.0.0.1"
        self.port = 0

    @property
    def base(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def paths(self) -> list[str]:
        """Paths that were asked for, in order, without robots.txt and the sitemap."""
        return [each.path for each in self.requests if each.path not in {"/robots.txt", "/sitemap.xml"}]

    def url(self, path: str) -> str:
        return self.base + path

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                pairs = (line.partition(": ") for line in lines[1:] if line)
                headers = {name.lower(): value for name, _, value in pairs}
                path = lines[0].split(" ")[1]
                self.requests.append(Request(path, headers, asyncio.get_running_loop().time()))
                self.asked.set()
                self.busy += 1
                self.most_busy = max(self.most_busy, self.busy)
                try:
                    await asyncio.sleep(self.delay_s)
                    await self._answer(path, headers, writer)
                finally:
                    self.busy -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the crawler left, as it should
        finally:
            writer.close()

    async def _answer(self, path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        found = self.pages.get(path) or self.fallback(path)
        if not isinstance(found, Answer):
            await found(writer)
            raise ConnectionResetError
        tag = found.headers.get("etag")
        date = found.headers.get("last-modified")
        matches = tag and headers.get("if-none-match") == tag
        if matches or (not tag and date and headers.get("if-modified-since") == date):
            found = Answer(status=304, media_type="", headers={**found.headers, "content-length": ""})
        writer.write(found.encoded())
        await writer.drain()


@asynccontextmanager
async def serving(
    pages: Mapping[str, Answer | Handler] | None = None, *, host: str = "127.0.0.1"
) -> AsyncIterator[Site]:
    """Serve a site on a free port of a loopback address."""
    site = Site()
    site.host = host
    site.pages.update(pages or {})
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(asyncio.CancelledError):  # the site closes
                await site._serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, host, 0)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def crawler(**options: object) -> Crawler:
    """Return a crawler that may reach loopback, unless told otherwise."""
    return Crawler(**{"user_agent": AGENT, "allow_private_addresses": True, **options})  # type: ignore[arg-type]


def limits(**bounds: float) -> CrawlLimits:
    """Return bounds for a site that needs no politeness."""
    return CrawlLimits(**{"requests_per_second": 5000.0, "page_timeout_s": 20.0, **bounds})  # type: ignore[arg-type]


@dataclass
class Crawl:
    """A crawl that ended."""

    pages: list[PageResult]
    run: CrawlRun

    def by_path(self, site: Site) -> dict[str, PageResult]:
        """Return the pages by what was asked for, without scheme, host and port."""
        return {page.requested_url.removeprefix(site.base): page for page in self.pages}

    def outcomes(self, site: Site) -> dict[str, str]:
        """Return for each path its outcome, or why it was skipped."""
        return {path: (page.skip_reason or page.outcome).value for path, page in self.by_path(site).items()}


async def crawl(
    *starts: str,
    known: Iterable[KnownPage] = (),
    state: CrawlState | None = None,
    bounds: CrawlLimits | None = None,
    by: Crawler | None = None,
    **options: object,
) -> Crawl:
    """Crawl from `starts` to the end and return all pages."""
    spec = CrawlSpec(starts, limits=bounds or limits(), **options)  # type: ignore[arg-type]
    async with (by or crawler()).crawl(spec, known=known, state=state) as run:
        return Crawl([page async for page in run], run)


def known_pages(found: Crawl) -> list[KnownPage]:
    """Return what a caller keeps of a crawl for the next one."""
    return [
        KnownPage(
            url=page.url,
            etag=page.etag,
            last_modified=page.last_modified,
            digest=page.digest,
            depth=page.depth,
            canonical_url=page.canonical_url,
            links=page.links,
        )
        for page in found.pages
        if page.outcome in {"fetched", "unchanged"}
    ]
