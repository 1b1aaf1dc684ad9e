"""Settings of what is fetched from elsewhere: single addresses and sites."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rag_server.config.group import MEBIBYTE, Group


class FetchSettings(Group):
    """Documents that are given by URI."""

    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Longest time for one document, redirects included, in seconds."""
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 5
    """Redirects followed; the address is checked on each."""
    allow_private_addresses: bool = False
    """Whether loopback, private and link-local addresses may be fetched. Leave it off on a shared server."""
    user_agent: str = "rag-server"
    """User-Agent header that is sent."""


class CrawlSettings(Group):
    """Crawls of web sites, beside what `fetch` says of addresses and the user agent."""

    requests_per_second: Annotated[float, Field(ge=0.01, le=10_000)] = 4.0
    """Requests to one host; a crawl-delay of its robots.txt makes them fewer."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    """Pages of one crawl that are fetched at once."""
    concurrency_per_host: Annotated[int, Field(ge=1, le=16)] = 2
    """Pages that are fetched at once from one host."""
    page_timeout_s: Annotated[float, Field(ge=0.001, le=600)] = 30.0
    """Longest time for one request, in seconds."""
    max_page_bytes: Annotated[int, Field(ge=1)] = 10 * MEBIBYTE
    """Largest page or linked document, in bytes."""
    max_total_bytes: Annotated[int, Field(ge=1)] = 512 * MEBIBYTE
    """What one crawl may fetch in all, in bytes."""
    max_duration_s: Annotated[float, Field(ge=0.001, le=604_800)] = 3600.0
    """How long one crawl may fetch, in seconds."""
    slice_s: Annotated[float, Field(gt=0)] = 30.0
    """How long a crawl keeps its place before other jobs have their turn, in seconds."""
