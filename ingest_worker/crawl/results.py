"""What a crawl finds, page by page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from rag_server.errors import RagError


class Outcome(StrEnum):
    """What became of a URL."""

    FETCHED = "fetched"
    """New or changed: the bytes are there."""
    UNCHANGED = "unchanged"
    """As the caller knows it."""
    SKIPPED = "skipped"
    """Left out on purpose, see `SkipReason`."""
    FAILED = "failed"
    """See `PageResult.error`."""
    GONE = "gone"
    """A page the caller knows does not exist any more (404, 410)."""


class SkipReason(StrEnum):
    """Why a URL was left out."""

    UNSUPPORTED_SCHEME = "unsupported_scheme"
    """`mailto:`, `file:`, `javascript:`..."""
    INVALID_URL = "invalid_url"
    """Malformed, or with a password."""
    OTHER_HOST = "other_host"
    NOT_INCLUDED = "not_included"
    EXCLUDED = "excluded"
    TOO_DEEP = "too_deep"
    URL_TOO_LONG = "url_too_long"
    REPETITIVE_PATH = "repetitive_path"
    TOO_MANY_VARIANTS = "too_many_variants"
    """Too many URLs that differ in their query only."""
    FRONTIER_FULL = "frontier_full"
    TOO_MANY_LINKS = "too_many_links"
    ROBOTS_DISALLOWED = "robots_disallowed"
    ROBOTS_UNREACHABLE = "robots_unreachable"
    """robots.txt answered with 5xx or not at all, which forbids everything (RFC 9309, 2.3.1.4)."""
    CRAWL_DELAY_TOO_LONG = "crawl_delay_too_long"
    NOINDEX = "noindex"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    DOCUMENTS_NOT_INCLUDED = "documents_not_included"
    DUPLICATE_URL = "duplicate_url"
    """Another URL stands for the same page already: a canonical link or a redirect says so."""
    DUPLICATE_CONTENT = "duplicate_content"
    """Another URL had the very same bytes, see `PageResult.duplicate_of`."""


class StopReason(StrEnum):
    """Why a crawl ended."""

    COMPLETE = "complete"
    """Nothing is left to visit."""
    MAX_PAGES = "max_pages"
    MAX_REQUESTS = "max_requests"
    MAX_BYTES = "max_bytes"
    MAX_DURATION = "max_duration"


@dataclass(frozen=True, slots=True)
class PageResult:
    """One URL that was visited, or was to be."""

    url: str
    """After redirects."""
    requested_url: str
    """As it was found."""
    depth: int
    """Links from a start URL; 1 for those of a sitemap."""
    outcome: Outcome
    canonical_url: str = ""
    """The name of the document: what the page says, where that is in scope, else `url`."""
    status: int = 0
    """HTTP status of the last answer; 0 where there was none."""
    skip_reason: SkipReason | None = None
    error: RagError | None = None
    """Why it failed, or why robots.txt is unreachable."""
    data: bytes = b""
    media_type: str = ""
    """As declared, lower case, without parameters."""
    charset: str = ""
    """As declared, may be empty."""
    file_name: str = ""
    etag: str = ""
    last_modified: str = ""
    digest: str = ""
    """SHA-256 of `data`, hexadecimal."""
    duplicate_of: str = ""
    moved_from: str = ""
    """A page the caller knows that redirects here now, so that it is no document of its own any more."""
    links: tuple[str, ...] = ()
    """Normalised, those that belong to the crawl and may be followed."""
    skipped_links: Counter[SkipReason] = field(default_factory=Counter, compare=False)
    """The page's other links, by why they are left out."""
