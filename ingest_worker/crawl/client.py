"""One HTTP client for a crawl: a pool of checked connections, one hop at a time, bytes and time bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from ingest_worker.crawl.budget import Budget
from ingest_worker.crawl.spec import CrawlLimits
from ingest_worker.crawl.urls import normalize_url
from ingest_worker.fetch import (
    CONNECT_TIMEOUT_S,
    REDIRECTS,
    checked_url,
    connection_errors,
    decompressed,
    fetch_failed,
)
from ingest_worker.network import CheckedTransport
from rag_server.errors import InvalidArgument, ResourceExhausted

_NOT_MODIFIED = 304
_DRAINED_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A robots.txt or a sitemap."""

    url: str
    status: int
    data: bytes
    is_cut: bool
    """Whether there was more than was asked for."""


class CrawlClient:
    """Sends GET requests. Knows no cookies, no credentials, no proxies, and follows no redirect by itself.

    Every connection goes through `ingest_worker.network.CheckedBackend`: whatever URL a page, a redirect, a
    robots.txt or a sitemap names, the address is checked when the connection to it is made.
    """

    def __init__(
        self, transport: CheckedTransport, limits: CrawlLimits, budget: Budget, *, user_agent: str
    ) -> None:
        self._transport = transport
        self._budget = budget
        self._timeout_s = limits.page_timeout_s
        self._timeouts = httpx.Timeout(
            limits.page_timeout_s,
            connect=min(limits.page_timeout_s, CONNECT_TIMEOUT_S),
            read=min(limits.page_timeout_s, limits.read_timeout_s),
        ).as_dict()
        self._headers = {"user-agent": user_agent, "accept": "*/*", "accept-encoding": "gzip"}

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[httpx.Response]:
        """Send one request and yield the answer with its body unread; the time limit holds until the exit.

        Raises as `ingest_worker.fetch.Fetcher.fetch`, and `BudgetSpent`.
        """
        self._budget.spend_request()
        request = httpx.Request(
            "GET",
            checked_url(url),
            headers={**self._headers, **(headers or {})},
            extensions={"timeout": self._timeouts},
        )
        with connection_errors(self._timeout_s):
            async with asyncio.timeout(self._timeout_s):
                response = await self._transport.handle_async_request(request)
                response.request = request
                try:
                    yield response
                    await self._drain(response)
                finally:
                    await response.aclose()

    async def read(self, response: httpx.Response, limit_bytes: int) -> bytes:
        """Return the body. Raises `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) where it is larger."""
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > limit_bytes:
            raise _too_large(limit_bytes)
        data = bytearray()
        async for part in decompressed(response):
            self._budget.spend_bytes(len(part))
            data += part
            if len(data) > limit_bytes:
                raise _too_large(limit_bytes)
        return bytes(data)

    async def _drain(self, response: httpx.Response) -> None:
        """Read what is left of a short body: only then can the connection be used again."""
        if response.is_stream_consumed or response.is_closed:
            return
        declared = response.headers.get("content-length", "")
        is_short = declared.isdecimal() and int(declared[:20]) <= _DRAINED_BYTES
        if is_short or response.status_code == _NOT_MODIFIED:
            async for part in response.aiter_raw():
                self._budget.spend_bytes(len(part))

    async def small_file(
        self,
        url: str,
        *,
        limit_bytes: int,
        max_redirects: int,
        permit: Callable[[str], Awaitable[bool]],
    ) -> SmallFile:
        """Return the start of what `url` answers, after redirects.

        Args:
            url: Normalised.
            limit_bytes: The rest is not read.
            max_redirects: More raise `InvalidArgument` (`URI_TOO_MANY_REDIRECTS`).
            permit: Asked before each hop; one that is not permitted raises `InvalidArgument`.
        """
        for _ in range(max_redirects + 1):
            if not await permit(url):
                raise InvalidArgument("URI_FETCH_FAILED", "the URI leads to where the crawl must not go")
            async with self.get(url) as response:
                location = redirect_target(response, url)
                if location is None:
                    return await self._small(response, url, limit_bytes)
            url = location
        raise too_many_redirects(max_redirects)

    async def _small(self, response: httpx.Response, url: str, limit_bytes: int) -> SmallFile:
        if not response.is_success:
            return SmallFile(url, response.status_code, b"", is_cut=False)
        data = bytearray()
        async for part in decompressed(response):
            self._budget.spend_bytes(len(part))
            data += part
            if len(data) > limit_bytes:
                break
        return SmallFile(url, response.status_code, bytes(data[:limit_bytes]), len(data) > limit_bytes)


def redirect_target(response: httpx.Response, url: str) -> str | None:
    """Return where an answer redirects to, normalised; None: it does not.

    Raises `InvalidArgument` for a redirect to nowhere, to another scheme or to a malformed URI.
    """
    if response.status_code not in REDIRECTS:
        return None
    location = response.headers.get("location", "")
    if not location:
        raise fetch_failed("the URI redirects to nowhere", response.status_code)
    return normalize_url(location, url)


def too_many_redirects(most: int) -> InvalidArgument:
    """Return the error for a chain of redirects that is too long."""
    return InvalidArgument("URI_TOO_MANY_REDIRECTS", f"the URI redirects more than {most} times")


def _too_large(limit_bytes: int) -> ResourceExhausted:
    return ResourceExhausted(
        "DOCUMENT_TOO_LARGE",
        f"the document at the URI is larger than {limit_bytes} bytes",
        metadata={"limit_bytes": str(limit_bytes)},
    )
