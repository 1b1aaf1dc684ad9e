"""What a caller asks to be crawled, and what is remembered of its pages for the next time."""

from __future__ import annotations

from dataclasses import dataclass, field

from rag_server.domain.metadata import Metadata

DEFAULT_MAX_PAGES = 50
DEFAULT_MAX_DEPTH = 5


@dataclass(frozen=True, slots=True)
class CrawlRequest:
    """A site to crawl; the worker's own bounds come on top."""

    start_urls: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_pages: int = DEFAULT_MAX_PAGES
    max_depth: int = DEFAULT_MAX_DEPTH
    include_documents: bool = False
    ignore_sitemaps: bool = False
    delete_gone: bool = False
    """Whether documents go whose pages are gone."""
    metadata: Metadata = field(default_factory=dict)
    """Of each page."""


@dataclass(frozen=True, slots=True)
class CrawledPage:
    """A page as the last crawl of its collection left it."""

    url: str
    """Where it was fetched from, after redirects, normalised."""
    document_id: str
    """The document that it became."""
    etag: str
    last_modified: str
    digest: str
    """SHA-256 of its bytes, hexadecimal."""
    depth: int
    canonical_url: str
    links: tuple[str, ...]
    options_digest: str
    """Of how it was handed in: metadata and chunking."""
