"""What to crawl, within which bounds, and what is known from the crawl before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from ingest_worker.crawl.patterns import compile_patterns
from ingest_worker.crawl.urls import normalize_url
from rag_server.errors import InvalidArgument

MAX_START_URLS = 100
MAX_HOSTS = 100


@dataclass(frozen=True, slots=True)
class CrawlLimits:
    """Bounds of a crawl; each ends it, or leaves something out, with a reason."""

    max_pages: int = 50
    """Pages taken: fetched or unchanged. 1 to 10 000."""
    max_depth: int = 5
    """Links from a start URL. 0: the start URLs alone. At most 100."""
    max_page_bytes: int = 10 << 20
    """Of one page or document, decompressed."""
    max_total_bytes: int = 512 << 20
    """Of everything fetched, decompressed."""
    max_duration_s: float = 3600.0
    """Of the whole crawl, over all its runs."""
    page_timeout_s: float = 30.0
    """For one request, from the connection to the last byte."""
    read_timeout_s: float = 10.0
    """Longest silence inside an answer."""
    max_redirects: int = 5
    """For one page."""
    concurrency: int = 8
    """Pages fetched at once. At most 64."""
    concurrency_per_host: int = 2
    requests_per_second: float = 4.0
    """To one host; a crawl-delay of its robots.txt makes it slower."""
    max_crawl_delay_s: float = 10.0
    """A host that asks for more seconds than this between requests is left alone."""
    max_frontier_urls: int = 20_000
    """URLs waiting."""
    max_seen_urls: int = 100_000
    """URLs met in all."""
    max_links_per_page: int = 5_000
    max_url_characters: int = 2_000
    max_query_variants: int = 200
    """URLs that differ in their query only."""
    max_repeated_segments: int = 3
    """Times that a segment may occur in a path; `/a/b/a/b/a/b/a/b` is a trap."""
    max_path_segments: int = 30
    max_sitemaps: int = 20
    """Sitemap files read."""
    max_sitemap_bytes: int = 10 << 20
    """Of one sitemap, decompressed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            least, most = _RANGES.get(field.name, (1, 1 << 40))
            if not least <= getattr(self, field.name) <= most:
                raise InvalidArgument.for_field(field.name, f"must be between {least} and {most}")

    @property
    def max_requests(self) -> int:
        """Requests in all, redirects, robots.txt and sitemaps too: an end also where no page is taken."""
        return 4 * self.max_pages + 100


_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "max_pages": (1, 10_000),
        "max_depth": (0, 100),
        "max_redirects": (0, 20),
        "concurrency": (1, 64),
        "concurrency_per_host": (1, 16),
        "requests_per_second": (0.01, 10_000),
        "max_duration_s": (0.001, 7 * 86_400),
        "page_timeout_s": (0.001, 600),
        "read_timeout_s": (0.001, 600),
        "max_crawl_delay_s": (0, 300),
        "max_frontier_urls": (1, 100_000),
        "max_seen_urls": (1, 1_000_000),
        "max_sitemaps": (0, 1_000),
        "max_url_characters": (1, 8_000),
    }
)


@dataclass(frozen=True, slots=True)
class CrawlSpec:
    """A site to crawl."""

    start_urls: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    """`host` or `host:port` that may be visited; empty: those of the start URLs."""
    include: tuple[str, ...] = ()
    """Patterns, one of which a page's URL must match, see `UrlPattern`; empty: all. Start URLs need not."""
    exclude: tuple[str, ...] = ()
    """Patterns that a page's URL must not match. Start URLs may."""
    include_documents: bool = False
    """Whether linked documents (PDF, DOCX...) are taken too."""
    use_sitemaps: bool = True
    """Whether sitemaps of the start URLs' hosts are read."""
    limits: CrawlLimits = CrawlLimits()

    def __post_init__(self) -> None:
        """Raise `InvalidArgument`, naming the field, for what cannot be crawled."""
        if not 1 <= len(self.start_urls) <= MAX_START_URLS:
            raise InvalidArgument.for_field("start_urls", f"needs 1 to {MAX_START_URLS} URLs")
        if len(self.hosts) > MAX_HOSTS:
            raise InvalidArgument.for_field("hosts", f"has {len(self.hosts)} hosts; at most {MAX_HOSTS}")
        for index, host in enumerate(self.hosts):
            if not host or any(character in host for character in "/@?#\\ *"):
                raise InvalidArgument.for_field(f"hosts[{index}]", "must be a host, or host:port")
            try:
                normalize_url(f"http://{host}/")
            except InvalidArgument as error:
                raise InvalidArgument.for_field(f"hosts[{index}]", "must be a host, or host:port") from error
        for index, url in enumerate(self.start_urls):
            try:
                normalize_url(url)
            except InvalidArgument as error:
                field = f"start_urls[{index}]"
                raise InvalidArgument.for_field(field, error.message, reason=error.reason) from error
        compile_patterns(self.include, "include")
        compile_patterns(self.exclude, "exclude")


@dataclass(frozen=True, slots=True)
class KnownPage:
    """A page as an earlier crawl left it."""

    url: str
    """Where it was fetched from, after redirects, normalised."""
    etag: str = ""
    last_modified: str = ""
    digest: str = ""
    """Of its bytes, `PageResult.digest`."""
    depth: int = 0
    canonical_url: str = ""
    """Empty: `url`."""
    links: tuple[str, ...] = ()
    """Followed where the page has not changed, because it is then not sent again."""
